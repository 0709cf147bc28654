"""Controls: the same system without a part of its input.

Data sets of referring relationships reward methods that ignore the relation, or the image (Conser et al. 2019,
"Revisiting Visual Grounding"). How much is left without them tells what a score is worth.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def hide(inputs: dict[str, Any], what: str) -> dict[str, Any]:
    """Inputs of a system with every relation exchanged for the first one, or with a black image; "" changes nothing."""
    if what == "relation":
        subject, relation, object_ = tf.unstack(inputs["queries"], axis=-1)
        return {**inputs, "queries": tf.stack([subject, tf.zeros_like(relation), object_], axis=-1)}
    if what == "image":
        return {**inputs, "image": tf.zeros_like(inputs["image"])}
    return inputs
