"""The object detector: backbone, decoder and region proposal network, from Model Garden's parts.

The paper, section 3.2 "Object Detector" and section 4.4; the supplement, section 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from official.vision.modeling import backbones, decoders
from official.vision.modeling.heads import dense_prediction_heads
from official.vision.ops import anchor, box_ops

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras

# A proposal this close to the best one is kept even below the score threshold: no image is left without boxes.
SCORE_MARGIN = 0.01
# Pixels. Boxes that lie in the padding of the input are empty when clipped: they must not take the place of others.
MIN_SIDE = 1.0


class Detector(keras.layers.Layer):
    """Proposes boxes and computes the feature map that regions are pooled from.

    Args:
      backbone: Model Garden backbone, image to `{level: features}`.
      decoder: Model Garden decoder on the backbone's levels, or None for the identity.
      rpn_head: Model Garden `RPNHead` at `rpn_level`.
      rpn_level, roi_level: feature levels (stride `2**level`) of the RPN and of the region features.
      anchors: float32 `[H', W', A * 4]` anchors of the RPN level, pixels of the network input.
      num_boxes: N, proposals per image.
      nms_iou, pre_nms_top_k: of the non-maximum suppression.
      score_threshold: proposals with a lower score are dropped, but never the best.
      train_on_all_proposals: whether in training none is dropped.
      pixel_mean, pixel_std: RGB normalisation.
      frozen_norms: of "backbone", "decoder" and "rpn_head": whose batch normalisation uses its stored statistics in
        training too.
      fine_level: a level of the backbone to return as well; 0: none.
    """

    def __init__(
        self,
        backbone,
        decoder,
        rpn_head,
        *,
        rpn_level: int,
        roi_level: int,
        anchors: tf.Tensor,
        num_boxes: int,
        nms_iou: float,
        pre_nms_top_k: int,
        score_threshold: float,
        train_on_all_proposals: bool,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        frozen_norms: Sequence[str],
        fine_level: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.backbone, self.decoder, self.rpn_head = backbone, decoder, rpn_head
        self.rpn_level, self.roi_level = str(rpn_level), str(roi_level)
        self.fine_level = str(fine_level) if fine_level else None
        self.anchors = anchors
        self.score_threshold, self.train_on_all_proposals = score_threshold, train_on_all_proposals
        self.pixel_mean, self.pixel_std = list(pixel_mean), list(pixel_std)
        self.frozen_norms = tuple(frozen_norms)
        self.num_boxes, self.nms_iou, self.pre_nms_top_k = num_boxes, nms_iou, pre_nms_top_k

    def call(self, image, image_size, training: bool = False, given=None) -> dict[str, tf.Tensor]:
        """Runs the detector.

        Args:
          image: uint8 or float `[B, H, W, 3]`, RGB in 0 to 255, padded at the bottom and the right.
          image_size: float32 `[B, 2]`, height and width of the un-padded part, pixels.
          training: training mode of batch normalisation and, with `train_on_all_proposals`, of the proposals.
          given: boxes `[B, M, 4]` and bool `[B, M]`, which of them count, to take in place of the proposals.

        Returns:
          features: `[B, H', W', C]`, the map at `roi_level`; fine_features: that of the backbone at `fine_level`.
          rpn_scores: float32 `[B, H'', W'', A]`, logits; rpn_boxes: float32 `[B, H'', W'', A * 4]`, encoded.
          proposals: float32 `[B, N, 4]`, pixels of the network input, best first, zero padded; no gradient.
          proposal_scores: float32 `[B, N]` in [0, 1]; valid: bool `[B, N]`.
        """
        trains = {part: training and part not in self.frozen_norms for part in ("backbone", "decoder", "rpn_head")}
        levels = self.backbone(self._normalize(image, image_size), training=trains["backbone"])
        fine = {} if self.fine_level is None else {"fine_features": levels[self.fine_level]}
        if self.decoder is not None:
            levels = self.decoder(levels, training=trains["decoder"])
        rpn_scores, rpn_boxes = self.rpn_head({self.rpn_level: levels[self.rpn_level]}, training=trains["rpn_head"])
        scores = tf.cast(rpn_scores[self.rpn_level], tf.float32)
        encoded = tf.cast(rpn_boxes[self.rpn_level], tf.float32)
        if given is None:
            proposals, proposal_scores, valid = self._propose(scores, encoded, image_size, training)
        else:
            proposals, valid = given
            proposal_scores = tf.cast(valid, tf.float32)
        return {
            "features": levels[self.roi_level],
            "rpn_scores": scores,
            "rpn_boxes": encoded,
            "proposals": proposals,
            "proposal_scores": proposal_scores,
            "valid": valid,
            **fine,
        }

    def _normalize(self, image, image_size):
        """Normalised pixels; the padding is zero, as a convolution's own padding is."""
        height, width = image.shape[1:3]
        # Rows of width times three numbers: arithmetic with three at a time is slow on CPUs.
        mean, std = (np.tile(np.array(value, np.float32), width) for value in (self.pixel_mean, self.pixel_std))
        pixels = tf.reshape(tf.cast(image, tf.float32), [-1, height, 3 * width])
        rows = tf.range(height, dtype=tf.float32) < image_size[:, :1]
        columns = tf.repeat(tf.range(width, dtype=tf.float32), 3) < image_size[:, 1:]
        scale = tf.cast(columns, tf.float32) / std
        normalized = (pixels - mean) * scale[:, tf.newaxis] * tf.cast(rows, tf.float32)[..., tf.newaxis]
        return tf.cast(tf.reshape(normalized, [-1, height, width, 3]), self.compute_dtype)

    def _propose(self, scores, encoded, image_size, training):
        """What Model Garden's `MultilevelROIGenerator` does at one level.

        Its suppression pads to 512 boxes and compares them in dozens of operations, which on CPUs takes long beside a
        small backbone; and below a threshold of 0.5 it keeps what overlaps more.
        """
        scores, encoded = tf.stop_gradient(scores), tf.stop_gradient(encoded)
        count, size = int(np.prod(scores.shape[1:])), image_size[:, tf.newaxis]
        scores = tf.sigmoid(tf.reshape(scores, [-1, count]))
        anchors = tf.reshape(self.anchors, [1, count, 4])
        boxes = box_ops.clip_boxes(box_ops.decode_boxes(tf.reshape(encoded, [-1, count, 4]), anchors), size)
        boxes, scores = box_ops.filter_boxes(boxes, scores, size, MIN_SIDE)
        boxes, scores = box_ops.top_k_boxes(boxes, scores, k=min(count, self.pre_nms_top_k))
        if self.nms_iou > 0:
            keep = box_lib.non_maxima(boxes, scores, self.nms_iou, self.num_boxes) & box_lib.non_empty(boxes)
            scores = tf.where(keep, scores, 0.0)
            boxes = tf.where(keep[..., tf.newaxis], boxes, 0.0)
        proposals, proposal_scores = box_ops.top_k_boxes(boxes, scores, k=min(count, self.num_boxes))
        valid = box_lib.non_empty(proposals)
        if not (training and self.train_on_all_proposals):
            best = tf.reduce_max(tf.where(valid, proposal_scores, 0.0), axis=1, keepdims=True)
            valid &= proposal_scores >= tf.minimum(self.score_threshold, best - SCORE_MARGIN)
        keep = tf.cast(valid, tf.float32)
        return proposals * keep[..., tf.newaxis], proposal_scores * keep, valid


def make_anchors(
    image_size: tuple[int, int], level: int, scales: Sequence[float], aspect_ratios: Sequence[float]
) -> tf.Tensor:
    """Anchors float32 `[H', W', A * 4]`, pixels; one Model Garden `Anchor` per scale, since it makes one octave."""
    per_scale = [
        anchor.Anchor(
            min_level=level,
            max_level=level,
            num_scales=1,
            aspect_ratios=list(aspect_ratios),
            anchor_size=scale,
            image_size=list(image_size),
        ).multilevel_boxes[str(level)]
        for scale in scales
    ]
    return tf.concat(per_scale, axis=-1)


def make_backbone(kind: str, depth: str, width: float, image_size: tuple[int, int], sync_batch_norm: bool):
    """Builds a Model Garden backbone.

    Raises:
      ValueError: Model Garden has no such `depth`; names the flag and the known values.
    """
    input_specs = keras.layers.InputSpec(shape=[None, *image_size, 3])
    common = {"input_specs": input_specs, "use_sync_bn": sync_batch_norm}
    if kind == "efficientnet":
        lite = depth.startswith("lite")
        model_id = "b" + depth[len("lite") :] if lite else depth
        known = [f"b{k}" for k in range(8)]
        if model_id not in known or (lite and model_id != "b0"):
            raise ValueError(
                f"--backbone_depth={depth} with --backbone=efficientnet: known are lite0, {', '.join(known)}"
            )
        return backbones.EfficientNet(
            model_id,
            se_ratio=0.0 if lite else 0.25,
            norm_epsilon=1e-3,
            activation="relu6" if lite else "swish",
            **common,
        )
    known = ["10", "18", "26", "34", "50", "101", "152"] if kind == "resnet" else ["50", "101", "152", "200"]
    if depth not in known:
        raise ValueError(f"--backbone_depth={depth} with --backbone={kind}: known are {', '.join(known)}")
    if kind == "resnet":
        return backbones.ResNet(int(depth), depth_multiplier=width, norm_epsilon=1e-5, **common)
    if width != 1.0:
        raise ValueError(f"--backbone_width={width} needs --backbone=resnet, not --backbone={kind}")
    return backbones.DilatedResNet(int(depth), output_stride=16, norm_epsilon=1e-5, **common)


def freeze_stem(backbone) -> None:
    """Keeps the layers up to level 2 (stride 4; of a ResNet conv1 and block1) as they are in training."""
    for layer in keras.Model(backbone.inputs, backbone.output["2"]).layers:
        layer.trainable = False


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


def make_rpn_head(level: int, num_anchors: int, filters: int, sync_batch_norm: bool):
    """Model Garden's RPN head at one level."""
    return dense_prediction_heads.RPNHead(
        min_level=level,
        max_level=level,
        num_anchors_per_location=num_anchors,
        num_filters=filters,
        use_sync_bn=sync_batch_norm,
    )
