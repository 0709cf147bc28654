"""How large the boxes of a split are in the network's input, and how many of them its anchors reach."""

from __future__ import annotations

import dataclasses

import numpy as np

from dsg_tf import boxes as box_lib
from dsg_tf.config import Config
from dsg_tf.inspect.counts import SIDES
from dsg_tf.model import detector

_AT_ONCE = 4096  # Boxes.


@dataclasses.dataclass(frozen=True)
class AnchorGrid:
    """The anchors of one level, `[rows, columns, A, 4]`."""

    anchors: np.ndarray

    def nearest(self, boxes: np.ndarray) -> np.ndarray:
        """The anchors `[M, A, 4]` of the cell whose center is nearest to that of each box `[M, 4]`.

        Of anchors of one shape none overlaps the box more: along either axis the overlap shrinks with the distance.
        """
        middles = (self.anchors[:, :, 0, :2] + self.anchors[:, :, 0, 2:]) / 2
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        rows = np.abs(centers[:, :1] - middles[:, 0, 0]).argmin(axis=1)
        columns = np.abs(centers[:, 1:] - middles[0, :, 1]).argmin(axis=1)
        return self.anchors[rows, columns]


def grids(config: Config) -> list[AnchorGrid]:
    """Those of each level of the RPN; none of a system whose anchors are not fixed, or that has none."""
    if config.is_attention_model or config.backbone == "nanodet_plus":
        return []
    found = []
    for level in config.rpn_levels:
        anchors = detector.make_anchors(config.image_size, [level], config.anchor_scales, config.aspect_ratios)
        shape = [side // 2**level for side in config.image_size]
        found.append(AnchorGrid(anchors.numpy().reshape(*shape, -1, 4)))
    return found


def best_iou(boxes: np.ndarray, levels: list[AnchorGrid]) -> np.ndarray:
    """The largest IoU `[M]` of an anchor with each box `[M, 4]`, pixels of the network's input."""
    near = np.concatenate([level.nearest(boxes) for level in levels], axis=1)
    return box_lib.iou(boxes[:, np.newaxis], near)[:, 0].numpy().max(axis=1)


class Reach:
    """Counts boxes by their size in the network's input, and those that an anchor reaches.

    Attributes:
      thresholds: IoUs from which on an anchor reaches a box.
      has_anchors: whether there are fixed ones.
      boxes: int `[S]`, boxes by `SIDES`; reached: int `[S, T]`, those that are reached at each threshold.
    """

    def __init__(self, config: Config):
        self._levels = grids(config)
        self._waiting: list[np.ndarray] = []
        self.has_anchors = bool(self._levels)
        self.thresholds = sorted({0.5, 0.6, config.rpn_positive_iou})
        self.boxes = np.zeros(len(SIDES), np.int64)
        self.reached = np.zeros([len(SIDES), len(self.thresholds)], np.int64)

    def add(self, boxes: np.ndarray, factors_yx: np.ndarray) -> None:
        """Counts the boxes of an image: `[M, 4]`, and the factors that it is scaled by; those without area are not."""
        scaled = box_lib.scale(boxes, factors_yx)
        scaled = scaled[np.isfinite(scaled).all(axis=1)]
        self._waiting.append(scaled[(scaled[:, 2:] > scaled[:, :2]).all(axis=1)])
        if sum(map(len, self._waiting)) >= _AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Counts what has not been counted yet."""
        boxes = np.concatenate([*self._waiting, np.zeros([0, 4], np.float32)]).astype(np.float32)
        self._waiting = []
        size = np.searchsorted(SIDES, np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), "right") - 1
        np.add.at(self.boxes, size, 1)
        if self.has_anchors and len(boxes):
            np.add.at(self.reached, size, best_iou(boxes, self._levels)[:, np.newaxis] >= self.thresholds)
