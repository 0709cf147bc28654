"""How one box lies as seen from another: what spatial relations are about."""

from __future__ import annotations

import tensorflow as tf

SIZE = 6
NEAR = 4.0  # A quarter of a box's size is far, for the features that tell the sides apart.
SCALE = 3.0  # These are six numbers beside hundreds of the regions' features.


def of_pairs(boxes):
    """Relative geometry of all ordered pairs.

    The coordinates of a pair's boxes hold the same, as small differences of large numbers.

    Args:
      boxes: float32 `[B, N, 4]`, pixels.

    Returns:
      float32 `[B, N, N, 6]`, axis 1 the box that sees, axis 2 the box that is seen: the offset (dy, dx) of their
      centres over their mean size, squashed so that it saturates near and far; log ratios of their heights and widths;
      all times `SCALE`.
    """
    centers = (boxes[..., :2] + boxes[..., 2:]) / 2.0
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], 1.0)  # Padding has none.
    sizes = tf.sqrt(tf.reduce_prod(sides, axis=-1, keepdims=True))
    offsets = _seen(centers) - _seeing(centers)
    offsets /= tf.sqrt(_seen(sizes) * _seeing(sizes))
    ratios = tf.math.log(_seen(sides) / _seeing(sides))
    softsign = offsets / (1.0 + tf.abs(offsets))  # Not TensorFlow's own, which LiteRT lacks up to TensorFlow 2.15.
    return SCALE * tf.concat([tf.tanh(NEAR * offsets), 2.0 * softsign, ratios], axis=-1)


def _seeing(values):
    return values[:, :, tf.newaxis]


def _seen(values):
    return values[:, tf.newaxis]
