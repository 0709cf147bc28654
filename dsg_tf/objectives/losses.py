"""The loss terms by name, and their weighted sum.

The paper, section 4. Every term is a mean over images of a per-image mean, so that it does not depend on how a batch
is split over devices. (Model Garden's `RpnBoxLoss` divides by the positive anchors of all devices, with a reduction
that cannot stand inside a compiled step; `RpnScoreLoss` divides by a fixed number per image.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf
from official.vision.losses import maskrcnn_losses

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import ROLES
from dsg_tf.keras import load_addons
from dsg_tf.objectives import metrics, targets

RefineLoss = Callable[..., tf.Tensor]
RPN_SMOOTH_L1_BETA = 1.0 / 9.0
MAP_POSITIVE_WEIGHT, MAP_EPSILON = 7.5, 1e-6


class Losses:
    """Computes the terms that a model's outputs allow.

    Args:
      anchors: float32 `[H', W', A * 4]` of the detector.
      num_relations: R.
      weights: of the terms, by name.
      rpn_positive_iou, rpn_negative_iou, rpn_samples: which anchors count, see `targets.rpn_targets`.
      balance_roles: whether Background and Other boxes together weigh as much as Subject and Object boxes.
      refine_loss: of `make_refine_loss`.
    """

    def __init__(
        self,
        anchors,
        num_relations: int,
        *,
        weights: Mapping[str, float],
        rpn_positive_iou: float,
        rpn_negative_iou: float,
        rpn_samples: int,
        balance_roles: bool,
        refine_loss: RefineLoss,
    ):
        self.anchors, self.num_relations, self.weights = anchors, num_relations, weights
        self.rpn_positive_iou, self.rpn_negative_iou, self.rpn_samples = rpn_positive_iou, rpn_negative_iou, rpn_samples
        self.rpn_score_loss = maskrcnn_losses.RpnScoreLoss(rpn_samples)
        self.balance_roles, self.refine_loss = balance_roles, refine_loss

    def __call__(self, outputs, batch) -> dict[str, tf.Tensor]:
        """Unweighted loss terms, float32 scalars, by name.

        Args:
          outputs: of the model, in training mode.
          batch: of the input pipeline.
        """
        matches = targets.match(outputs["proposals"], outputs["valid"], batch)
        terms = self._rpn_terms(outputs, batch)
        if "role_logits" in outputs:
            terms["rr"] = self._rr_term(outputs["role_logits"], matches, batch)
        terms["refine"] = self._refine_term(outputs["deltas"], outputs["proposals"], matches, batch)
        if "edge_deltas" in outputs:
            terms["edges"] = self._refine_term(outputs["edge_deltas"], outputs["edge_starts"], matches, batch)
        if "entity_logits" in outputs:
            terms["entity"] = _entity_term(outputs["entity_logits"], matches, batch)
            terms["relation"] = self._relation_term(outputs["relation_logits"], matches, batch)
        return terms

    def total(self, terms: dict[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum."""
        return tf.add_n([self.weights[name] * value for name, value in terms.items()])

    def _rpn_terms(self, outputs, batch):
        scores, encoded = targets.rpn_targets(
            self.anchors,
            batch,
            positive_iou=self.rpn_positive_iou,
            negative_iou=self.rpn_negative_iou,
            num_samples=self.rpn_samples,
        )
        return {
            "rpn_score": self.rpn_score_loss({"level": outputs["rpn_scores"]}, {"level": scores}),
            "rpn_box": _rpn_box_term(outputs["rpn_boxes"], encoded, scores),
        }

    def _rr_term(self, logits, matches, batch):
        target, counts = targets.role_targets(matches, batch)
        losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)  # [B, Q, N]
        if self.balance_roles:
            positive = target[..., 1] + target[..., 2] > 0
            per_query = 0.5 * (_mean(losses, counts & positive, 2) + _mean(losses, counts & ~positive, 2))
        else:
            per_query = _mean(losses, counts, 2)
        return tf.reduce_mean(_mean(per_query, batch["query_mask"], 1))

    def _refine_term(self, deltas, starts, matches, batch):
        truth = tf.gather(batch["true_boxes"], matches["index"], axis=1, batch_dims=1)
        losses = self.refine_loss(deltas, starts, truth, matches["foreground"])
        return tf.reduce_mean(_mean(losses, matches["foreground"], 1))

    def _relation_term(self, logits, matches, batch):
        """Binary cross-entropy of all pairs of matched proposals, per annotated relation."""
        target, pairs = targets.relation_targets(matches, batch, self.num_relations)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
        mask = tf.cast(pairs, tf.float32)
        annotated = tf.reduce_sum(tf.reduce_sum(target, -1) * mask, axis=(1, 2))
        return tf.reduce_mean(tf.reduce_sum(tf.reduce_sum(losses, -1) * mask, axis=(1, 2)) / tf.maximum(annotated, 1.0))


class MapLosses:
    """The attention models' loss: weighted binary cross-entropy of the maps (Krishna et al. 2018, section 5)."""

    def __call__(self, outputs, batch) -> dict[str, tf.Tensor]:
        """Terms `subject_map` and `object_map`, float32 scalars: means over images, their queries and the cells."""
        return {
            f"{role}_map": self._term(outputs[f"{role}_map"], metrics.true_mask(batch, role), batch["query_mask"])
            for role in ROLES
        }

    def total(self, terms: dict[str, tf.Tensor]) -> tf.Tensor:
        """The sum."""
        return tf.add_n(list(terms.values()))

    def _term(self, maps, truth, query_mask):
        maps, truth = tf.clip_by_value(maps, MAP_EPSILON, 1.0 - MAP_EPSILON), tf.cast(truth, tf.float32)
        cells = -MAP_POSITIVE_WEIGHT * truth * tf.math.log(maps) - (1.0 - truth) * tf.math.log(1.0 - maps)
        return tf.reduce_mean(_mean(tf.reduce_mean(cells, axis=(2, 3)), query_mask, 1))


def _rpn_box_term(predicted, target, scores):
    """Huber loss of the positive anchors' boxes, mean over coordinates and anchors."""
    shape = [-1, scores.shape[1] * scores.shape[2] * scores.shape[3], 4]
    losses = tf.reduce_mean(_smooth_l1(tf.reshape(predicted - target, shape), RPN_SMOOTH_L1_BETA), axis=-1)
    positive = tf.reshape(scores, shape[:2]) == 1.0
    return tf.reduce_mean(_mean(losses, positive, 1))


def _entity_term(logits, matches, batch):
    labels = tf.gather(batch["entities"], matches["index"], axis=1, batch_dims=1)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(_mean(losses, matches["foreground"], 1))


def make_refine_loss(kind: str, beta: float) -> RefineLoss:
    """Loss per box of the box refiner.

    Args:
      kind: "smooth_l1" of the encoded offsets, or "giou" (Rezatofighi et al. 2019) of the refined boxes.
      beta: where smooth L1 turns from quadratic to linear.

    Returns:
      A function of (deltas, proposals, true boxes, which boxes count) to float32 `[B, N]`.

    Raises:
      ValueError: GIoU needs the extra [addons], which is not installed.
    """

    def smooth_l1(deltas, proposals, truth, counts):
        target = tf.where(counts[..., tf.newaxis], box_lib.encode(truth, proposals), 0.0)
        return tf.reduce_sum(_smooth_l1(deltas - target, beta), axis=-1)

    def giou(deltas, proposals, truth, counts):
        losses = tfa.losses.giou_loss(truth, box_lib.decode(deltas, proposals))
        return tf.reshape(losses, tf.shape(counts))  # It drops axes of length 1.

    if kind == "smooth_l1":
        return smooth_l1
    tfa = load_addons("--refine_loss=giou")
    return giou


def _smooth_l1(error, beta: float):
    """Quadratic up to `beta`, then linear with slope 1."""
    error = tf.abs(error)
    return tf.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta)


def _mean(values, mask, axis):
    """Mean over `axis` where `mask`; 0 where nothing is."""
    mask = tf.cast(mask, values.dtype)
    return tf.reduce_sum(values * mask, axis) / tf.maximum(tf.reduce_sum(mask, axis), 1.0)
