"""What limits the score: the metric with parts of the answer replaced by the truth, or by a rule over true boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from dsg_tf.data import roles
from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.evaluation.analysis import box_rules
from dsg_tf.objectives import metrics, targets

SCORES = ("subject_iou", "object_iou", "ambiguous_subject_iou", "ambiguous_object_iou")
# The rows, in their order, and what a table calls them.
TITLES = {
    "model": "the model",
    "true_boxes": "true boxes in place of those it answers with",
    "true_roles": "a perfect classifier on its proposals",
    "true_roles_and_boxes": "both",
    "true_proposals": "true boxes as proposals",
    "all_of_class": "by rule: all boxes of the class",
    "most_extreme": "by rule: the most extreme in the direction",
    "own_position": "by rule: own position, partner ignored",
    "centers": "by rule: centers of both",
    "true_labels": "the truth, one label a box",
}


def analyze(
    model, shards: Sequence[str], spec: BatchSpec, batch_size: int, max_images: int = 0, *, relations: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Subject and object IoU of a split, as it is and with oracles, over all queries and over ambiguous ones.

    A proposal is *matched* where its IoU with a true box is at least 0.5.

    Args:
      model: of `build.build_model`.
      shards, spec, batch_size: see `pipeline.eval_batches`.
      max_images: stop after so many images; 0: all.
      relations: names of the relation classes.

    Returns:
      {name: {score: value}}, scores `SCORES`, NaN where no query is ambiguous; names

      - `model`: the answers themselves;
      - `true_boxes`: matched boxes exchanged for their true box after the classifier;
      - `true_roles`: matched boxes answer what they are, all others Background: a perfect classifier;
      - `true_roles_and_boxes`: both: what the detector's misses and the metric's L = 14 leave;
      - `true_proposals`: the network runs on the true boxes in place of the detector's;
      - `all_of_class`, `true_labels`, and, where every relation is a direction, `most_extreme`, `own_position` and
        `centers`: true boxes, chosen by the rules of `box_rules`. The thresholds of `own_position`, one for each
        relation and role, are those that score best on this split.

    Raises:
      ValueError: the system answers with maps, not with boxes.
    """
    directions = box_rules.directions(relations)

    @tf.function(autograph=False)
    def step(batch):
        outputs = model(batch, training=False)
        if "boxes" not in outputs:
            raise ValueError("oracles are about boxes; this system answers with maps")
        variants = {**_replaced(outputs, batch), **_by_rule(batch, directions)}
        # The network once more, on other boxes.
        proposed = {**batch, "proposals": batch["true_boxes"], "proposal_mask": batch["box_mask"]}
        variants["true_proposals"] = model(proposed, training=False)
        weights = _weights(batch)
        sums = {name: tf.einsum("sbq,sbq->s", _ious(found, batch), weights) for name, found in variants.items()}
        return sums, tf.reduce_sum(weights, axis=(1, 2)), tf.reduce_sum(tf.cast(batch["example_mask"], tf.int32))

    @tf.function(autograph=False)
    def of_threshold(batch, threshold):
        found = box_rules.own_position(batch, directions, threshold)
        hot = tf.one_hot(batch["queries"][..., 1], len(relations))
        return tf.einsum("sbq,sbq,bqr->sr", _ious(found, batch), _weights(batch), hot)

    totals: dict[str, np.ndarray] = {}
    by_threshold = np.zeros([len(box_rules.THRESHOLDS), len(SCORES), len(relations)])
    counts, num_images = np.zeros(len(SCORES)), 0
    for batch in pipeline.eval_batches(shards, spec, batch_size):
        sums, queries, images = step(batch)
        totals = {name: totals.get(name, 0.0) + value.numpy() for name, value in sums.items()}
        if directions is not None:
            by_threshold += [of_threshold(batch, tf.constant(value)).numpy() for value in box_rules.THRESHOLDS]
        counts, num_images = counts + queries.numpy(), num_images + int(images)
        if max_images and num_images >= max_images:
            break
    if directions is not None:
        totals["own_position"] = _best(by_threshold)
    with np.errstate(invalid="ignore"):
        return {name: dict(zip(SCORES, (totals[name] / counts).tolist())) for name in TITLES if name in totals}


def table(report: Mapping[str, Mapping[str, float]]) -> str:
    """What `analyze` found, as text."""
    lines = [f"{'subject / object IoU':46} {'all queries':>17} {'ambiguous':>17}"]
    for name, found in report.items():
        everything, hard = ([found[score] for score in scores] for scores in (SCORES[:2], SCORES[2:]))
        cells = [" / ".join(f"{value:.4f}" for value in pair) for pair in (everything, hard)]
        lines.append(f"{TITLES[name]:46} {cells[0]:>17} {cells[1]:>17}")
    if "centers" not in report:
        lines.append(f"no rules of position: not every relation is one of {', '.join(box_rules.DIRECTIONS)}")
    return "\n".join(lines)


def _replaced(outputs, batch):
    """The answers, and those with true boxes, with true roles and with both."""
    matches = targets.match(outputs["proposals"], outputs["valid"], batch)
    truth = tf.gather(batch["true_boxes"], matches["index"], axis=1, batch_dims=1)
    boxes = tf.where(matches["foreground"][..., tf.newaxis], truth, outputs["boxes"])
    wanted, known = targets.role_targets(matches, batch)
    # A box that is both Subject and Object answers as both.
    sets = {f"{role}_mask": (wanted[..., label] > 0) & known for role, label in roles.LABEL_OF.items()}
    return {
        "model": outputs,
        "true_boxes": {**outputs, "boxes": boxes},
        "true_roles": {**outputs, **sets},
        "true_roles_and_boxes": {**outputs, **sets, "boxes": boxes},
    }


def _by_rule(batch, directions):
    found = {"all_of_class": box_rules.all_of_class(batch), "true_labels": box_rules.true_labels(batch)}
    if directions is not None:
        found["most_extreme"] = box_rules.most_extreme(batch, directions)
        found["centers"] = box_rules.centers(batch, directions)
    return found


def _ious(outputs, batch):
    """float32 `[4, B, Q]`, in the order of `SCORES`."""
    found = metrics.referring_iou(outputs, batch)
    return tf.stack([found[f"{role}_iou"] for role in roles.ROLES] * 2)


def _weights(batch):
    """float32 `[4, B, Q]`: 1 for the queries that each of `SCORES` is about."""
    ambiguous = box_rules.ambiguous(batch)
    masks = [batch["query_mask"]] * 2 + [batch["query_mask"] & ambiguous[role] for role in roles.ROLES]
    return tf.cast(tf.stack(masks), tf.float32)


def _best(by_threshold: np.ndarray) -> np.ndarray:
    """The sums `[4]` of the thresholds with the best score, for each role and relation; from `[K, 4, R]`."""
    best = by_threshold[:, :2].argmax(axis=0)  # [2, R]
    chosen = np.take_along_axis(by_threshold, np.tile(best, [2, 1])[np.newaxis], axis=0)
    return chosen[0].sum(axis=-1)
