"""How sure a network is, against the truth: its scores in bins, for histograms and for curves of precision and recall.

Counts add up over batches, so that no score has to be kept. What a box should have answered is decided as for the
losses, in `targets`: boxes that are neither clearly on a ground-truth box nor clearly off it do not count.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dsg_tf.data import roles
from dsg_tf.objectives import metrics, targets

BINS = 101  # Bin k holds scores from k / 100 up to, but without, (k + 1) / 100; the last one holds 1.


def count(outputs, batch) -> dict[str, tf.Tensor]:
    """Counts the scores of one batch.

    Args:
      outputs: of a model of `build.build_model`, at inference.
      batch: of `pipeline.eval_batches`.

    Returns:
      int32 `[K, 2, BINS]` each, see `in_bins`: `subject`, `object` (K = 1), of boxes as an answer to queries, or
      of the cells of an attention model's maps; of systems that propose boxes `proposal` (K = 1); of those that label
      them `entity` (K = E) and `relation` (K = R), and `right_class` (K = 1), what boxes give to the class that
      they have. With the latter int32 `entity_truth` `[E]` and `relation_truth` `[R]`: ground-truth boxes and
      triplets of each class.
    """
    if "subject_map" in outputs:
        return count_roles(outputs, batch)
    matches = targets.match(outputs["proposals"], outputs["valid"], batch)
    of_image = outputs["valid"] & batch["example_mask"][:, tf.newaxis]
    counted = {"proposal": _one(outputs["proposal_scores"], matches["foreground"], of_image)}
    counted |= _count_answers(outputs, matches, batch)
    if "entity_logits" in outputs:
        counted |= _count_labels(outputs, matches, batch)
    return counted


def count_roles(outputs, batch) -> dict[str, tf.Tensor]:
    """`subject` and `object` of `count`, without the rest, which takes longer."""
    if "subject_map" in outputs:
        counts = batch["query_mask"][..., tf.newaxis, tf.newaxis]
        return {role: _one(outputs[f"{role}_map"], metrics.true_mask(batch, role), counts) for role in roles.ROLES}
    return _count_answers(outputs, targets.match(outputs["proposals"], outputs["valid"], batch), batch)


def _count_answers(outputs, matches, batch) -> dict[str, tf.Tensor]:
    wanted, counts = targets.role_targets(matches, batch)
    return {
        role: _one(outputs[f"{role}_scores"], wanted[..., label] > 0, counts) for role, label in roles.LABEL_OF.items()
    }


def _count_labels(outputs, matches, batch) -> dict[str, tf.Tensor]:
    num_entities, num_relations = outputs["entity_logits"].shape[-1], outputs["relation_probabilities"].shape[-1]
    entities = tf.gather(batch["entities"], matches["index"], axis=1, batch_dims=1)
    is_class = tf.one_hot(entities, num_entities, on_value=True, off_value=False)
    probabilities = tf.nn.softmax(outputs["entity_logits"])
    right = tf.reduce_sum(tf.where(is_class, probabilities, 0.0), axis=-1)
    found = matches["foreground"]
    stands, pairs = targets.relation_targets(matches, batch, num_relations)
    relations = batch["relations"][..., 1]
    return {
        "entity": in_bins(probabilities, is_class, found[..., tf.newaxis]),
        "right_class": _one(right, tf.ones_like(found), found),
        "relation": in_bins(outputs["relation_probabilities"], stands > 0, pairs[..., tf.newaxis]),
        "entity_truth": _histogram(batch["entities"], batch["box_mask"], num_entities),
        "relation_truth": _histogram(relations, relations >= 0, num_relations),
    }


def in_bins(scores, is_true, counts):
    """Counts scores of several labels.

    Args:
      scores: float32 `[..., K]` in [0, 1].
      is_true: bool of the same shape.
      counts: bool, broadcast: which scores count.

    Returns:
      int32 `[K, 2, BINS]`: for each label those of what is not true, then of what is.
    """
    num_labels = scores.shape[-1]
    # A probability may be above 1 by rounding.
    bins = tf.clip_by_value(tf.cast(scores * (BINS - 1), tf.int32), 0, BINS - 1)
    flat = (2 * tf.range(num_labels) + tf.cast(is_true, tf.int32)) * BINS + bins
    return tf.reshape(_histogram(flat, counts, 2 * BINS * num_labels), [num_labels, 2, BINS])


def _one(scores, is_true, counts):
    return in_bins(*(value[..., tf.newaxis] for value in (scores, is_true, counts)))


def _histogram(values, counts, size: int):
    """int32 `[size]`: how often each number occurs where `counts`."""
    values = tf.where(counts, values, size)  # Beyond the end, which is not counted.
    with tf.device("/cpu:0"):  # This has no deterministic form on GPUs.
        return tf.math.bincount(tf.reshape(values, [-1]), minlength=size, maxlength=size)


def precision_recall(counts: np.ndarray) -> dict[str, np.ndarray]:
    """What is right and wrong at each threshold k / 100, where the scores at or above it say yes.

    Args:
      counts: `[2, BINS]`, of one label.

    Returns:
      By name `true_positive_counts`, `false_positive_counts`, `true_negative_counts`, `false_negative_counts`
      (integers `[BINS]`), `precision` and `recall` (float64 `[BINS]`), 0 where nothing says yes or nothing is
      true.
    """
    said = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
    (false_positives, true_positives), (negatives, positives) = said, said[:, :1]
    return {
        "true_positive_counts": true_positives,
        "false_positive_counts": false_positives,
        "true_negative_counts": negatives - false_positives,
        "false_negative_counts": positives - true_positives,
        "precision": true_positives / np.maximum(said.sum(axis=0), 1),
        "recall": true_positives / np.maximum(positives, 1),
    }


def reliability(counts: np.ndarray, groups: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often what is said holds.

    Args:
      counts: `[2, BINS]`, of one label.
      groups: ranges of equal width that the scores are put together in.

    Returns:
      Of each range float64 `[groups]`: the mean score, each taken for the middle of its bin; the share that is true;
      both NaN where there are none; and int how many.
    """
    middles = np.minimum(np.arange(BINS) + 0.5, BINS - 1) / (BINS - 1)
    group = np.minimum(np.arange(BINS) * groups // (BINS - 1), groups - 1)
    number = np.bincount(group, counts.sum(axis=0), groups)
    with np.errstate(invalid="ignore"):
        means = np.bincount(group, counts.sum(axis=0) * middles, groups) / number
        shares = np.bincount(group, counts[1], groups) / number
    return means, shares, number.astype(np.int64)
