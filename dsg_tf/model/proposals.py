"""From scored anchors to the proposals of an image: decoding, suppression, the best ones.

The paper, section 4.4. What Model Garden's `MultilevelROIGenerator` does; its suppression pads to 512 boxes and
compares them in dozens of operations, which on CPUs takes long beside a small backbone, and below a threshold of 0.5 it
keeps what overlaps more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
from official.vision.ops import box_ops

from dsg_tf import boxes as box_lib

# A proposal this close to the best one is kept even below the score threshold: no image is left without boxes.
SCORE_MARGIN = 0.01
# Pixels. Boxes that lie in the padding of the input are empty when clipped: they must not take the place of others.
MIN_SIDE = 1.0


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which of the anchors' boxes become proposals.

    Attributes:
      num_boxes: N, proposals per image.
      nms_iou: threshold of the non-maximum suppression; 0: none.
      pre_nms_top_k: best-scoring anchors that enter it.
      score_threshold: proposals with a lower score are dropped, but never the best.
      train_on_all_proposals: whether in training none is dropped.
      levels_apart: whether each feature level has its own suppression and `pre_nms_top_k`, as in Faster R-CNN with FPN;
        if not, a box of one level suppresses those of the others.
    """

    num_boxes: int
    nms_iou: float
    pre_nms_top_k: int
    score_threshold: float
    train_on_all_proposals: bool
    levels_apart: bool = True

    def __call__(self, logits, encoded, anchors, level_sizes: Sequence[int], image_size, training: bool):
        """Selects.

        Args:
          logits: float32 `[B, K]`; encoded: float32 `[B, K, 4]`; anchors: float32 `[1 or B, K, 4]`, pixels of the
            network input; all without gradient.
          level_sizes: anchors of each feature level, which follow each other; K in all.
          image_size: float32 `[B, 2]`, height and width of the un-padded part, pixels.
          training: see `train_on_all_proposals`.

        Returns:
          Boxes float32 `[B, N, 4]`, best first, zero padded; scores float32 `[B, N]` in [0, 1]; bool `[B, N]`, which
          count; and int32 `[B, N]`, the anchor of each.
        """
        size = image_size[:, tf.newaxis]
        boxes = box_ops.clip_boxes(box_ops.decode_boxes(encoded, anchors), size)
        boxes, scores = box_ops.filter_boxes(boxes, tf.sigmoid(logits), size, MIN_SIDE)
        groups, start = [], 0
        for count in level_sizes if self.levels_apart else [sum(level_sizes)]:
            groups.append(self._without_overlaps(boxes, scores, start, count))
            start += count
        boxes, scores, numbers = (tf.concat(parts, axis=1) for parts in zip(*groups)) if groups[1:] else groups[0]
        boxes, scores, numbers = _best(boxes, scores, numbers, self.num_boxes)
        valid = box_lib.non_empty(boxes)
        if not (training and self.train_on_all_proposals):
            best = tf.reduce_max(tf.where(valid, scores, 0.0), axis=1, keepdims=True)
            valid &= scores >= tf.minimum(self.score_threshold, best - SCORE_MARGIN)
        keep = tf.cast(valid, tf.float32)
        return boxes * keep[..., tf.newaxis], scores * keep, valid, numbers

    def _without_overlaps(self, boxes, scores, start: int, count: int):
        """The best of a group of anchors; those that are suppressed are zero."""
        numbers = tf.broadcast_to(tf.range(start, start + count), [tf.shape(scores)[0], count])
        boxes, scores = boxes[:, start : start + count], scores[:, start : start + count]
        boxes, scores, numbers = _best(boxes, scores, numbers, self.pre_nms_top_k)
        if self.nms_iou > 0:
            keep = box_lib.non_maxima(boxes, scores, self.nms_iou, self.num_boxes) & box_lib.non_empty(boxes)
            scores = tf.where(keep, scores, 0.0)
            boxes = tf.where(keep[..., tf.newaxis], boxes, 0.0)
        return boxes, scores, numbers


def _best(boxes, scores, numbers, limit: int):
    """Those of the `limit` largest scores, in their order."""
    scores, order = tf.math.top_k(scores, min(limit, scores.shape[1]))
    boxes, numbers = (tf.gather(values, order, axis=1, batch_dims=1) for values in (boxes, numbers))
    return boxes, scores, numbers
