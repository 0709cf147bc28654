"""The object detector: backbone, decoder and region proposal network, from Model Garden's parts.

The paper, section 3.2 "Object Detector" and section 4.4; the supplement, section 1. With several levels, the RPN and
the region features of Faster R-CNN with FPN (Lin et al. 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from official.vision.modeling import decoders
from official.vision.modeling.heads import dense_prediction_heads
from official.vision.ops import anchor

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model.proposals import Selection


class Detector(keras.layers.Layer):
    """Proposes boxes and computes the feature maps that regions are pooled from.

    Args:
      backbone: Model Garden backbone, image to `{level: features}`.
      decoder: Model Garden decoder on the backbone's levels, or None for the identity.
      rpn_head: Model Garden `RPNHead`, or a `PointRPN`, at `rpn_levels`.
      rpn_levels, roi_levels: feature levels (stride `2**level`) of the RPN and of the region features, in order.
      anchors: of a `RPNHead`, see `make_anchors`; None for a `PointRPN`, which has its own.
      selection: which anchors' boxes become proposals.
      pixel_mean, pixel_std: RGB normalisation.
      frozen_norms: of "backbone", "decoder" and "rpn_head": whose batch normalisation uses its stored statistics in
        training too.
    """

    def __init__(
        self,
        backbone,
        decoder,
        rpn_head,
        *,
        rpn_levels: Sequence[int],
        roi_levels: Sequence[int],
        anchors: tf.Tensor | None,
        selection: Selection,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        frozen_norms: Sequence[str],
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.backbone, self.decoder, self.rpn_head = backbone, decoder, rpn_head
        self.rpn_levels, self.roi_levels = tuple(rpn_levels), tuple(roi_levels)
        # As an array they become a constant of a graph; a tensor would be an input of it.
        self.anchors = None if anchors is None else anchors.numpy()
        self.selection = selection
        self.pixel_mean, self.pixel_std = list(pixel_mean), list(pixel_std)
        self.frozen_norms = tuple(frozen_norms)

    def call(self, image, image_size, training: bool = False, given=None) -> dict[str, Any]:
        """Runs the detector.

        Args:
          image: uint8 or float `[B, H, W, 3]`, RGB in 0 to 255, padded at the bottom and the right.
          image_size: float32 `[B, 2]`, height and width of the un-padded part, pixels.
          training: training mode of batch normalisation and, with `train_on_all_proposals`, of the proposals.
          given: boxes `[B, M, 4]` and bool `[B, M]`, which of them count, to take in place of the proposals.

        Returns:
          features: by level, `[B, H', W', C]`, the maps at `roi_levels`. Of K anchors: rpn_scores
          float32 `[B, K]`, logits; rpn_boxes float32 `[B, K, 4]`, encoded; anchors float32 `[1 or B, K, 4]`, pixels of
          the network input.
          proposals: float32 `[B, N, 4]`, pixels of the network input, best first, zero padded; no gradient.
          proposal_scores: float32 `[B, N]` in [0, 1]; valid: bool `[B, N]`; with a `PointRPN` also, of the
          anchors of the proposals, its descriptors `[B, N, .]` and class_logits float32 `[B, N, C]`.
        """
        trains = {part: training and part not in self.frozen_norms for part in ("backbone", "decoder", "rpn_head")}
        levels = self.backbone(self.normalize(image, image_size), training=trains["backbone"])
        if self.decoder is not None:
            levels = self.decoder(levels, training=trains["decoder"])
        rpn = self._score_anchors({str(k): levels[str(k)] for k in self.rpn_levels}, trains["rpn_head"])
        if given is None:
            logits, encoded, anchors = (tf.stop_gradient(rpn[name]) for name in ("scores", "boxes", "anchors"))
            proposals, scores, valid, numbers = self.selection(
                logits, encoded, anchors, rpn["level_sizes"], image_size, training
            )
        else:
            proposals, valid = given
            scores = tf.cast(valid, tf.float32)
            numbers = _nearest(proposals, rpn["anchors"]) if "descriptors" in rpn else None
        seen = {
            name: tf.gather(rpn[name], numbers, axis=1, batch_dims=1)
            for name in ("descriptors", "class_logits")
            if name in rpn
        }
        return {
            "features": {level: levels[str(level)] for level in self.roi_levels},
            "rpn_scores": rpn["scores"],
            "rpn_boxes": rpn["boxes"],
            "anchors": rpn["anchors"],
            "proposals": proposals,
            "proposal_scores": scores,
            "valid": valid,
            **seen,
        }

    def normalize(self, image, image_size):
        """What the backbone sees of `image` and `image_size`, as of `call`: normalised pixels `[B, H, W, 3]`.

        The padding is zero, as a convolution's own padding is.
        """
        height, width = image.shape[1:3]
        # Rows of width times three numbers: arithmetic with three at a time is slow on CPUs.
        mean, std = (np.tile(np.array(value, np.float32), width) for value in (self.pixel_mean, self.pixel_std))
        pixels = tf.reshape(tf.cast(image, tf.float32), [-1, height, 3 * width])
        rows = tf.range(height, dtype=tf.float32) < image_size[:, :1]
        columns = tf.repeat(tf.range(width, dtype=tf.float32), 3) < image_size[:, 1:]
        scale = tf.cast(columns, tf.float32) / std
        normalized = (pixels - mean) * scale[:, tf.newaxis] * tf.cast(rows, tf.float32)[..., tf.newaxis]
        return tf.cast(tf.reshape(normalized, [-1, height, width, 3]), self.compute_dtype)

    def _score_anchors(self, levels, training):
        """`scores`, `boxes` and `anchors` of all levels as of `PointRPN`, and its `descriptors` if it is one."""
        if self.anchors is None:
            return self.rpn_head(levels, training=training)
        scores, boxes = self.rpn_head(levels, training=training)
        names = [str(level) for level in self.rpn_levels]
        sizes = [int(np.prod(scores[name].shape[1:])) for name in names]
        flat = {
            "scores": [tf.reshape(tf.cast(scores[name], tf.float32), [-1, size]) for name, size in zip(names, sizes)],
            "boxes": [tf.reshape(tf.cast(boxes[name], tf.float32), [-1, size, 4]) for name, size in zip(names, sizes)],
        }
        joined = {name: tf.concat(parts, axis=1) if parts[1:] else parts[0] for name, parts in flat.items()}
        return {**joined, "anchors": tf.constant(self.anchors)[tf.newaxis], "level_sizes": sizes}


def _nearest(boxes, anchors):
    """The anchor of largest IoU with each box: `[B, M, 4]` and `[1 or B, K, 4]` to int32 `[B, M]`."""
    anchors = tf.broadcast_to(anchors, tf.concat([tf.shape(boxes)[:1], tf.shape(anchors)[1:]], axis=0))
    return tf.argmax(box_lib.iou(boxes, anchors), axis=2, output_type=tf.int32)


def make_anchors(
    image_size: tuple[int, int], levels: Sequence[int], scales: Sequence[float], aspect_ratios: Sequence[float]
) -> tf.Tensor:
    """Anchors float32 `[K, 4]`, pixels: level after level, row by row, those of a cell together.

    One Model Garden `Anchor` per level and scale, since it makes one octave.
    """

    def of_level(level: int, scale: float):
        anchors = anchor.Anchor(
            min_level=level,
            max_level=level,
            num_scales=1,
            aspect_ratios=list(aspect_ratios),
            anchor_size=scale,
            image_size=list(image_size),
        )
        return anchors.multilevel_boxes[str(level)]

    levels_anchors = [tf.concat([of_level(level, scale) for scale in scales], axis=-1) for level in levels]
    return tf.concat([tf.reshape(anchors, [-1, 4]) for anchors in levels_anchors], axis=0)


def make_decoder(
    kind: str,
    backbone_levels: Mapping[str, tf.TensorShape],
    min_level: int,
    max_level: int,
    filters: int,
    sync_batch_norm: bool,
):
    """Builds a Model Garden decoder, None for the identity.

    Raises:
      ValueError: the backbone has no such level; names both.
    """
    if kind == "identity":
        wanted, known = [str(min_level), str(max_level)], sorted(backbone_levels)
        if not set(wanted) <= set(known):
            raise ValueError(
                f"levels {', '.join(wanted)} (--rpn_level, --roi_level) are not among the backbone's "
                f"levels {', '.join(known)}; --decoder=fpn makes others"
            )
        return None
    return decoders.FPN(
        backbone_levels, min_level=min_level, max_level=max_level, num_filters=filters, use_sync_bn=sync_batch_norm
    )


def make_rpn_head(levels: Sequence[int], num_anchors: int, filters: int, sync_batch_norm: bool):
    """Model Garden's RPN head at levels that follow each other, with `num_anchors` a cell."""
    return dense_prediction_heads.RPNHead(
        min_level=levels[0],
        max_level=levels[-1],
        num_anchors_per_location=num_anchors,
        num_filters=filters,
        use_sync_bn=sync_batch_norm,
    )
