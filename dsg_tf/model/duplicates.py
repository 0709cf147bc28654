"""Leaves one of the boxes of an answer that lie on the same thing.

Beyond the paper, where every box answers that is classified as a role: of a detector's boxes about one object several
may be, and those that reach beyond it cost IoU.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import ROLES


def drop(found: dict[str, tf.Tensor], boxes, overlap: float) -> dict[str, tf.Tensor]:
    """Answers without boxes that lie on a more probable box of the same answer.

    Args:
      found: answers to queries: `subject_mask`, `object_mask` bool `[B, Q, N]`, `subject_scores`, `object_scores`
        float32 `[B, Q, N]`, and what else there is.
      boxes: float32 `[B, N, 4]`.
      overlap: the share of the smaller of two boxes from which on they lie on each other.

    Returns:
      `found`, with fewer boxes in the masks. Where there was one there is one. Scores stay.
    """
    count = boxes.shape[1]
    near = (box_lib.overlap(boxes) >= overlap) & ~tf.eye(count, dtype=tf.bool)
    earlier = tf.range(count) < tf.range(count)[:, tf.newaxis]
    masks = {}
    # Not `tf.newaxis`: LiteRT has no slice of bools of a free length.
    beside = functools.partial(tf.expand_dims, axis=2)
    for role in ROLES:
        mask, scores = found[f"{role}_mask"], found[f"{role}_scores"]
        own, other = tf.expand_dims(scores, -1), beside(scores)
        better = (other > own) | ((other == own) & earlier)
        masks[f"{role}_mask"] = mask & ~tf.reduce_any(tf.expand_dims(near, 1) & beside(mask) & better, axis=-1)
    return {**found, **masks}
