"""What the signatures return of what the network does, whatever runs it."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.roles import ROLES
from dsg_tf.model.dsg import STATE


def state_of(encoded) -> dict[str, tf.Tensor]:
    """The part of what `DSG.encode` returns that `DSG.answer` reads."""
    return {name: encoded[name] for name in STATE if name in encoded}


def best_boxes(state, found, is_query) -> dict[str, tf.Tensor]:
    """The outputs of `refer`.

    Args:
      state: `boxes` float32 `[B, N, 4]` and `valid` bool `[B, N]`.
      found: what `DSG.answer` returned.
      is_query: bool `[B, Q]`; what is none has neither boxes nor scores.
    """
    result = {
        "boxes": state["boxes"],
        "valid": state["valid"],
        "answer_probability": tf.where(is_query, found["answer_probability"], 0.0),
    }
    if "role_probabilities" in found:
        result["role_probabilities"] = found["role_probabilities"]
    is_query = tf.expand_dims(is_query, -1)  # Not `tf.newaxis`: LiteRT has no slice of bools of a free length.
    for role in ROLES:
        scores = tf.where(is_query, found[f"{role}_scores"], 0.0)
        best = tf.argmax(scores, axis=-1)
        boxes = tf.gather(state["boxes"], best, axis=1, batch_dims=1)
        result |= {
            f"{role}_scores": scores,
            f"{role}_mask": found[f"{role}_mask"] & is_query,
            f"{role}_score": tf.reduce_max(scores, axis=-1),
            f"{role}_box": tf.where(is_query, boxes, 0.0),
        }
    return result
