"""Exact means of a bilinearly interpolated map over boxes, in place of means over samples.

Precise RoI pooling (Jiang et al. 2018, "Acquisition of Localization Confidence for Accurate Object Detection"). The
interpolated map is `sum_rc w_r(y) * w_c(x) * map[r, c]` with tent-shaped weights, so its integral over a box is
`sum_rc (W_r(y1) - W_r(y0)) * (W_c(x1) - W_c(x0)) * map[r, c]`, where W is the antiderivative of w.

So the mean is a sum of the map's cells with other weights than those of samples, and the pooling is the same matrix
product. (The corners of all union boxes lie on the grid of the single boxes' edges, which needs fewer operations: four
points of the map's double antiderivative there give a mean. It takes longer, since it moves more memory and its
differences of large numbers need float64.)
"""

from __future__ import annotations

import tensorflow as tf

# Cells. An interval without length has the weights at its place, the limit of the mean.
MIN_SIDE = 1e-6


def mean_weights(low, high, length: int, grid: int):
    """Mean bilinear weight of each cell of a map's side over equal parts of intervals.

    Args:
      low, high: `[...]`, the ends of the intervals; feature coordinates, where cell c has its centre at c.
      length: cells of the side.
      grid: parts of each interval.

    Returns:
      float32 `[..., grid, length]`; each part's weights sum to 1.
    """
    low, high = _widened(low, high)
    side = (high - low)[..., tf.newaxis]
    ends = low[..., tf.newaxis] + side * tf.linspace(tf.constant(0.0, tf.float64), 1.0, grid + 1)
    integrals = _antiderivative(ends, length)
    weights = (integrals[..., 1:, :] - integrals[..., :-1, :]) * grid / side[..., tf.newaxis]
    return tf.cast(weights, tf.float32)


def _widened(low, high):
    """The ends as float64, `MIN_SIDE` apart at least, about the same centre."""
    low, high = tf.cast(low, tf.float64), tf.cast(high, tf.float64)
    centre, half = (low + high) / 2, tf.maximum(high - low, MIN_SIDE) / 2
    return centre - half, centre + half


def _antiderivative(positions, length):
    """Integral of each cell's weight from a fixed place to each position: `[...]` to `[..., length]`.

    Beyond the outermost centres the outermost cell has weight 1, as the samples of the other operators.
    """
    inside = tf.clip_by_value(positions, 0.0, length - 1.0)
    offset = inside[..., tf.newaxis] - tf.range(length, dtype=positions.dtype)
    offset = tf.clip_by_value(offset, -1.0, 1.0)
    distance = tf.abs(offset)
    beyond = (positions - inside)[..., tf.newaxis] * (1.0 - distance)
    return offset * (1.0 - distance / 2) + beyond
