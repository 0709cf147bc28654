"""What each anchor and each proposal should have answered.

The paper, sections 4.1 to 4.4.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data import roles

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.3


def rpn_targets(anchors, batch, *, positive_iou: float, negative_iou: float, num_samples: int):
    """Labels of the anchors, sampled as Faster R-CNN does.

    An anchor is positive at `positive_iou` with a ground-truth box, or when no anchor has a larger IoU with that
    box; negative below `negative_iou` with every box. (Model Garden's labeler draws its sample with a stateful
    generator, which neither compiles with XLA nor repeats after a restart.)

    Args:
      anchors: float32 `[1 or B, K, 4]`, pixels.
      batch: `true_boxes` `[B, M, 4]`, `box_mask` bool `[B, M]`, `seed` int32 `[B, 2]`.

    Returns:
      Scores float32 `[B, K]`: 1 positive, 0 negative, -1 ignored, with at most `num_samples` not ignored and at most
      half of them positive; and encoded boxes `[B, K, 4]`, zero where not positive.
    """
    batch_size, count = tf.shape(batch["true_boxes"])[0], anchors.shape[1]
    anchors = tf.broadcast_to(anchors, [batch_size, count, 4])
    iou = box_lib.iou(anchors, batch["true_boxes"])  # [B, K, M]
    iou *= tf.cast(batch["box_mask"][:, tf.newaxis], tf.float32)
    best = tf.reduce_max(iou, axis=2)
    best_of_box = tf.reduce_max(iou, axis=1, keepdims=True)
    is_best = tf.reduce_any((iou >= best_of_box - 1e-5) & (best_of_box > 0), axis=2)
    positive = (best >= positive_iou) | is_best
    negative = (best < negative_iou) & ~positive

    keys = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([count], seed),
        batch["seed"],
        fn_output_signature=tf.TensorSpec([count], tf.float32),
    )
    max_positives = tf.fill([batch_size], num_samples // 2)
    positive = _sample(positive, keys, max_positives, num_samples)
    num_positives = tf.reduce_sum(tf.cast(positive, tf.int32), axis=1)
    negative = _sample(negative, keys, num_samples - num_positives, num_samples)

    scores = tf.where(positive, 1.0, tf.where(negative, 0.0, -1.0))
    matched = tf.gather(batch["true_boxes"], tf.argmax(iou, axis=2), axis=1, batch_dims=1)
    encoded = box_lib.encode(matched, anchors, weights=(1.0, 1.0, 1.0, 1.0))
    return scores, tf.where(positive[..., tf.newaxis], encoded, 0.0)


def _sample(candidates, keys, limits, max_limit: int):
    """Keeps the `limits` `[B]` (at most `max_limit`) candidates of each row with the largest keys."""
    keys = tf.where(candidates, keys, -1.0)
    largest = tf.math.top_k(keys, min(max_limit, keys.shape[1])).values
    last = tf.clip_by_value(limits - 1, 0, largest.shape[1] - 1)
    threshold = tf.gather(largest, last, axis=1, batch_dims=1)[:, tf.newaxis]
    return candidates & (keys >= threshold) & (limits[:, tf.newaxis] > 0)


def match(proposals, valid, batch) -> dict[str, tf.Tensor]:
    """Gives each proposal the ground-truth box of largest IoU.

    Args:
      proposals: float32 `[B, N, 4]`; valid: bool `[B, N]`.
      batch: `true_boxes` `[B, M, 4]` and `box_mask` bool `[B, M]`.

    Returns:
      `index` int32 `[B, N]`; `iou` float32 `[B, N]`; `foreground`, `background` bool `[B, N]`: IoU at
      least 0.5 and below 0.3 (the paper, section 4.1); neither is set where not valid.
    """
    iou = box_lib.iou(proposals, batch["true_boxes"]) * tf.cast(batch["box_mask"][:, tf.newaxis], tf.float32)
    best = tf.reduce_max(iou, axis=2)
    return {
        "index": tf.argmax(iou, axis=2, output_type=tf.int32),
        "iou": best,
        "foreground": valid & (best >= FOREGROUND_IOU),
        "background": valid & (best < BACKGROUND_IOU),
    }


def role_targets(matches, batch):
    """What each proposal is to each query (the paper, section 4.1).

    A ground-truth box that is both subject and object of a query gives a target of one half each.

    Args:
      matches: from `match`.
      batch: `subject_of`, `object_of` bool `[B, Q, M]`; `query_mask` bool `[B, Q]`.

    Returns:
      Target distribution float32 `[B, Q, N, 4]` and bool `[B, Q, N]`: which boxes count.
    """
    num_queries = batch["query_mask"].shape[1]
    index = tf.tile(matches["index"][:, tf.newaxis], [1, num_queries, 1])
    foreground = matches["foreground"][:, tf.newaxis]
    subject = foreground & tf.gather(batch["subject_of"], index, axis=2, batch_dims=2)
    object_ = foreground & tf.gather(batch["object_of"], index, axis=2, batch_dims=2)
    other = foreground & ~subject & ~object_
    background = tf.broadcast_to(matches["background"][:, tf.newaxis], tf.shape(subject))
    by_label = {roles.BACKGROUND: background, roles.SUBJECT: subject, roles.OBJECT: object_, roles.OTHER: other}
    target = tf.stack([tf.cast(by_label[label], tf.float32) for label in range(roles.NUM_LABELS)], axis=-1)
    total = tf.reduce_sum(target, axis=-1)
    return target / tf.maximum(total, 1.0)[..., tf.newaxis], (total > 0) & batch["query_mask"][..., tf.newaxis]


def relation_targets(matches, batch, num_relations: int):
    """Relations of each pair of proposals, multi-hot.

    Args:
      matches: from `match`.
      batch: `relations` int32 `[B, T, 3]`: subject box, relation, object box; -1 where padded; `box_mask`.

    Returns:
      Targets float32 `[B, N, N, R]` (axis 1 the subject), and bool `[B, N, N]`: pairs of matched proposals.
    """
    num_boxes = batch["box_mask"].shape[1]
    subject, relation, object_ = tf.unstack(batch["relations"], axis=-1)  # -1 gives a row of zeros in a one-hot.
    relation_hot = tf.one_hot(relation, num_relations)[:, :, tf.newaxis]
    subject_hot = tf.one_hot(subject, num_boxes)[..., tf.newaxis] * relation_hot  # [B, T, M, R]
    table = tf.einsum("btmr,bto->bmor", subject_hot, tf.one_hot(object_, num_boxes))  # [B, M, M, R]
    rows = tf.gather(table, matches["index"], axis=1, batch_dims=1)
    targets = tf.gather(rows, matches["index"], axis=2, batch_dims=1)
    foreground = matches["foreground"]
    both = foreground[:, :, tf.newaxis] & foreground[:, tf.newaxis]
    return tf.minimum(targets, 1.0), both
