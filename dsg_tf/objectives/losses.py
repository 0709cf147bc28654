"""The loss terms by name, and their weighted sum.

The paper, section 4. Every term is a mean over images of a number of each image, so that it does not depend on how a
batch is split over devices. With the released scale, that of the authors' code, the numbers are

    rr        Q * sum_qi(w_qi loss_qi) / (1 + sum_qi w_qi), of queries q and boxes i; the weights w: see `_balanced`
    refine    the sum over the boxes on a true box / the number of proposals
    entity    the sum over the boxes on a true box
    relation  the sum over pairs of such boxes
    rpn_box   the sum over positive anchors and coordinates / the number of sampled anchors

else each is the mean over what it sums over; of rr over boxes, then over queries. (Model Garden's `RpnBoxLoss` divides
by the positive anchors of all devices, with a reduction that cannot stand inside a compiled step; `RpnScoreLoss`
divides by a fixed number per image.)
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf
from official.vision.losses import maskrcnn_losses

from dsg_tf.data.roles import BACKGROUND, OBJECT, ROLES, SUBJECT
from dsg_tf.objectives import box_losses, metrics, targets
from dsg_tf.objectives.box_losses import RefineLoss, smooth_l1

RPN_SMOOTH_L1_BETA = 1.0 / 9.0
MAP_POSITIVE_WEIGHT, MAP_EPSILON = 7.5, 1e-6


class Losses:
    """Computes the terms that a model's outputs allow.

    Args:
      num_relations: R.
      weights: of the terms, by name.
      rpn_positive_iou, rpn_negative_iou, rpn_samples: which anchors count, see `targets.rpn_targets`.
      released_scale: whether terms have the scale of the released code, or are means.
      balance_roles: whether a query's Background boxes together weigh half as much as its Subject and Object boxes.
      exclusive_relations: whether relations are a softmax, learned where one is annotated; or sigmoids, learned on all
        pairs of boxes that are on true boxes.
      refine_loss: of `box_losses.make_refine_loss`.
    """

    def __init__(
        self,
        num_relations: int,
        *,
        weights: Mapping[str, float],
        rpn_positive_iou: float,
        rpn_negative_iou: float,
        rpn_samples: int,
        released_scale: bool,
        balance_roles: bool,
        exclusive_relations: bool,
        refine_loss: RefineLoss,
    ):
        self.num_relations, self.weights = num_relations, weights
        self.rpn_positive_iou, self.rpn_negative_iou, self.rpn_samples = rpn_positive_iou, rpn_negative_iou, rpn_samples
        self.rpn_score_loss = maskrcnn_losses.RpnScoreLoss(rpn_samples)
        self.released_scale, self.balance_roles = released_scale, balance_roles
        self.exclusive_relations, self.refine_loss = exclusive_relations, refine_loss

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
        if "deltas" in outputs:
            terms["refine"] = self._refine_term(outputs["deltas"], outputs["proposals"], outputs, matches, batch)
        if "edge_logits" in outputs:
            terms["edges"] = self._edge_term(outputs["edge_logits"], outputs["edge_starts"], matches, batch)
        if "entity_logits" in outputs:
            terms["entity"] = self._entity_term(outputs["entity_logits"], matches, batch)
            terms["relation"] = self._relation_term(outputs["relation_logits"], matches, batch)
        if "auxiliary_role_logits" in outputs:
            terms["auxiliary_rr"] = self._rr_term(outputs["auxiliary_role_logits"], matches, batch)
        return terms

    def total(self, terms: dict[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum."""
        return tf.add_n([self.weights[name] * value for name, value in terms.items()])

    def _rpn_terms(self, outputs, batch):
        scores, encoded = targets.rpn_targets(
            outputs["anchors"],
            batch,
            positive_iou=self.rpn_positive_iou,
            negative_iou=self.rpn_negative_iou,
            num_samples=self.rpn_samples,
        )
        return {
            "rpn_score": self.rpn_score_loss(_as_map(outputs["rpn_scores"]), _as_map(scores)),
            "rpn_box": self._rpn_box_term(outputs["rpn_boxes"], encoded, scores),
        }

    def _rpn_box_term(self, predicted, target, scores):
        """Huber loss of the positive anchors' boxes."""
        losses = smooth_l1(predicted - target, RPN_SMOOTH_L1_BETA)
        if self.released_scale:
            of_image = _share(tf.reduce_sum(losses, axis=-1), scores == 1.0, of=scores >= 0.0)
        else:
            of_image = _mean(tf.reduce_mean(losses, axis=-1), scores == 1.0, 1)
        return tf.reduce_mean(of_image)

    def _rr_term(self, logits, matches, batch):
        target, counts = targets.role_targets(matches, batch)
        losses = tf.nn.softmax_cross_entropy_with_logits(target, logits)  # [B, Q, N]
        weights = _balanced(target, counts) if self.balance_roles else tf.cast(counts, tf.float32)
        if self.released_scale:
            num_queries = tf.reduce_sum(tf.cast(batch["query_mask"], tf.float32), axis=1)
            total, weight = tf.reduce_sum(weights * losses, axis=(1, 2)), tf.reduce_sum(weights, axis=(1, 2))
            of_image = num_queries * total / (1.0 + weight)
        else:
            of_image = _mean(_mean(losses, weights, 2), batch["query_mask"], 1)
        return tf.reduce_mean(of_image)

    def _refine_term(self, deltas, starts, outputs, matches, batch):
        truth = tf.gather(batch["true_boxes"], matches["index"], axis=1, batch_dims=1)
        on_truth = matches["foreground"]
        losses = self.refine_loss(deltas, starts, truth, on_truth)
        of_image = _share(losses, on_truth, of=outputs["valid"] if self.released_scale else on_truth)
        return tf.reduce_mean(of_image)

    def _edge_term(self, logits, starts, matches, batch):
        """Cross-entropy of the places of edges, a mean over the boxes on a true box in either scale."""
        truth = tf.gather(batch["true_boxes"], matches["index"], axis=1, batch_dims=1)
        target = box_losses.edge_targets(truth, starts, logits.shape[-1])
        losses = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits), axis=-1)
        return tf.reduce_mean(_mean(losses, matches["foreground"], 1))

    def _entity_term(self, logits, matches, batch):
        labels = tf.gather(batch["entities"], matches["index"], axis=1, batch_dims=1)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        reduce = _sum if self.released_scale else _mean
        return tf.reduce_mean(reduce(losses, matches["foreground"], 1))

    def _relation_term(self, logits, matches, batch):
        """Cross-entropy of the pairs of matched proposals: per annotated relation where it is a mean."""
        target, pairs = targets.relation_targets(matches, batch, self.num_relations)
        if self.exclusive_relations:
            losses = -target * tf.nn.log_softmax(logits)
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(target, logits)
        of_image = _sum(tf.reduce_sum(losses, axis=-1), pairs, (1, 2))
        if not self.released_scale:
            of_image /= tf.maximum(_sum(tf.reduce_sum(target, axis=-1), pairs, (1, 2)), 1.0)
        return tf.reduce_mean(of_image)


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


def _as_map(scores):
    """`[B, K]` in the form that Model Garden's loss takes, one level of K cells with an anchor each."""
    return {"level": scores[:, :, tf.newaxis, tf.newaxis]}


def _balanced(target, counts):
    """Weights `[B, Q, N]`: of a Background box `0.5 p / (1 + b)`, 1 of the others.

    p is how many Subject and Object boxes its query has, b how many Background boxes. Other boxes keep their weight:
    the wrong one of several of a class is what the relation is learned from.
    """
    weights = tf.cast(counts, tf.float32)
    positive = (target[..., SUBJECT] + target[..., OBJECT] > 0) & counts
    background = (target[..., BACKGROUND] > 0) & counts
    num_positive, num_background = (
        tf.reduce_sum(tf.cast(which, tf.float32), axis=2, keepdims=True) for which in (positive, background)
    )
    return tf.where(background, 0.5 * num_positive / (1.0 + num_background), weights)


def _sum(values, mask, axis):
    return tf.reduce_sum(values * tf.cast(mask, values.dtype), axis)


def _share(values, mask, *, of):
    """Sum over axis 1 where `mask`, divided by how many are in `of`; 0 where none is."""
    return _sum(values, mask, 1) / tf.maximum(tf.reduce_sum(tf.cast(of, values.dtype), 1), 1.0)


def _mean(values, mask, axis):
    """Mean over `axis` where `mask`, which may also be weights; 0 where nothing is."""
    mask = tf.cast(mask, values.dtype)
    return tf.reduce_sum(values * mask, axis) / tf.maximum(tf.reduce_sum(mask, axis), 1.0)
