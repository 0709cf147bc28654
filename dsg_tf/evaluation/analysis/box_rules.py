"""How far class and position go without a network: answers by rule, over the true boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dsg_tf.data.roles import QUERY_PARTS, ROLES

# Where a subject lies, (y, x), of an object to which it stands in a relation of this name. In CLEVR and the synthetic
# scenes these are directions on the floor, so that along the axes of the picture they hold nearly always.
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "front": (1, 0), "behind": (-1, 0), "above": (-1, 0), "below": (1, 0)}
# Of `own_position`: of the way through the picture, from where on a box answers.
THRESHOLDS = tuple(np.linspace(0.05, 0.95, 19).astype(np.float32))


def directions(relations: Sequence[str]) -> np.ndarray | None:
    """float32 `[R, 2]` (y, x), the direction of each relation; None where some relation is none."""
    if not all(name in DIRECTIONS for name in relations):
        return None
    return np.array([DIRECTIONS[name] for name in relations], np.float32)


def of_class(batch) -> dict[str, tf.Tensor]:
    """By role, bool `[B, Q, M]`: the true boxes of the class that the query names for it."""
    entities, boxes = batch["entities"][:, tf.newaxis], batch["box_mask"][:, tf.newaxis]
    return {role: boxes & (entities == batch["queries"][..., QUERY_PARTS.index(role), tf.newaxis]) for role in ROLES}


def ambiguous(batch) -> dict[str, tf.Tensor]:
    """By role, bool `[B, Q]`: whether several boxes are of its class, as `QueryResult` has it."""
    return {role: tf.math.count_nonzero(boxes, axis=-1) > 1 for role, boxes in of_class(batch).items()}


def all_of_class(batch) -> dict[str, tf.Tensor]:
    """Outputs that `metrics.referring_iou` reads: all boxes of the class."""
    return _outputs(batch, of_class(batch))


def true_labels(batch) -> dict[str, tf.Tensor]:
    """The truth as a classifier with one label a box can say it: a box that is both is the subject."""
    subject, object_ = batch["subject_of"], batch["object_of"]
    return _outputs(batch, {"subject": subject, "object": object_ & ~subject})


def most_extreme(batch, directions) -> dict[str, tf.Tensor]:
    """The one box of the class that lies farthest in the relation's direction, or, of objects, against it."""
    chosen = of_class(batch)
    ways = _ways(batch, directions)
    return _outputs(batch, {role: _farthest(chosen[role], ways[role]) for role in ROLES})


def own_position(batch, directions, threshold) -> dict[str, tf.Tensor]:
    """Boxes of the class that lie beyond `threshold`, whatever stands elsewhere; where none does, the farthest."""
    chosen, ways = of_class(batch), _ways(batch, directions)
    sets = {}
    for role in ROLES:
        beyond = chosen[role] & (ways[role] > threshold)
        found = tf.reduce_any(beyond, axis=-1, keepdims=True)
        sets[role] = tf.where(found, beyond, _farthest(chosen[role], ways[role]))
    return _outputs(batch, sets)


def centers(batch, directions) -> dict[str, tf.Tensor]:
    """Boxes of the class with a partner whose center lies on the right side of theirs; else the pair that lacks least.

    Args:
      batch: of `pipeline.eval_batches`.
      directions: float32 `[R, 2]`, see `directions`.
    """
    chosen, way = of_class(batch), _ways(batch, directions)["subject"]
    pairs = chosen["subject"][..., tf.newaxis] & chosen["object"][:, :, tf.newaxis]
    pairs &= ~tf.eye(way.shape[-1], dtype=tf.bool)
    lead = tf.where(pairs, way[..., tf.newaxis] - way[:, :, tf.newaxis], -np.inf)  # [B, Q, M, M]
    holds = pairs & ((lead > 0) | (lead == tf.reduce_max(lead, axis=(2, 3), keepdims=True)))
    return _outputs(batch, {"subject": tf.reduce_any(holds, axis=3), "object": tf.reduce_any(holds, axis=2)})


def _ways(batch, directions) -> dict[str, tf.Tensor]:
    """By role, float32 `[B, Q, M]`: how far through the picture a center is, 0 to 1, toward where the role lies."""
    corners = batch["true_boxes"]
    middle = (corners[..., :2] + corners[..., 2:]) / 2 / batch["image_size"][:, tf.newaxis]
    toward = tf.gather(directions, batch["queries"][..., 1])  # [B, Q, 2]
    way = tf.einsum("bmk,bqk->bqm", middle, toward)
    way += tf.cast(tf.reduce_sum(toward, axis=-1, keepdims=True) < 0, tf.float32)
    return {"subject": way, "object": 1.0 - way}


def _farthest(chosen, way):
    best = tf.one_hot(tf.argmax(tf.where(chosen, way, -1.0), axis=-1), way.shape[-1], on_value=True, off_value=False)
    return chosen & best


def _outputs(batch, sets) -> dict[str, tf.Tensor]:
    return {"boxes": batch["true_boxes"], **{f"{role}_mask": sets[role] for role in ROLES}}
