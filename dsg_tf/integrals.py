"""Exact means of a bilinearly interpolated map over boxes, in place of means over samples.

Precise RoI pooling (Jiang et al. 2018, "Acquisition of Localization Confidence for Accurate Object Detection"). The
interpolated map is ``sum_rc w_r(y) * w_c(x) * map[r, c]`` with tent-shaped weights, so its integral over a box is
``sum_rc (W_r(y1) - W_r(y0)) * (W_c(x1) - W_c(x0)) * map[r, c]``, where W is the antiderivative of w.

The corners of all union boxes lie on the grid of the single boxes' edges: two small products give the map's double
antiderivative there, and every union box is a combination of four of its points.

Differences of integrals over the whole map lose digits, the more the smaller the box: hence float64, and boxes that are
at least `MIN_SIDE` high and wide. A box without area so has the value at its place, the limit of the mean.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib

# Cells. Moves a mean by less than 1 / 10,000 of the difference between neighbouring cells.
MIN_SIDE = 1e-4


def mean_weights(low, high, length: int, grid: int):
    """Mean bilinear weight of each cell of a map's side over equal parts of intervals.

    Args:
      low, high: ``[...]``, the ends of the intervals; feature coordinates, where cell c has its centre at c.
      length: cells of the side.
      grid: parts of each interval.

    Returns:
      float32 ``[..., grid, length]``; each part's weights sum to 1.
    """
    low, high = _widened(low, high)
    side = (high - low)[..., tf.newaxis]
    ends = low[..., tf.newaxis] + side * tf.linspace(tf.constant(0.0, tf.float64), 1.0, grid + 1)
    integrals = _antiderivative(ends, length)
    weights = (integrals[..., 1:, :] - integrals[..., :-1, :]) * grid / side[..., tf.newaxis]
    return tf.cast(weights, tf.float32)


def union_means(features, boxes, first, second):
    """Means over the union boxes of pairs.

    Args:
      features: ``[B, H', W', D]``.
      boxes: ``[B, N, 4]``, feature coordinates.
      first, second: integers ``[P]``, the boxes of each pair.

    Returns:
      ``[B, P, D]``, of the type of ``features``.
    """
    height, width, size = features.shape[1:]
    count = boxes.shape[1]
    boxes = tf.concat(_widened(boxes[..., :2], boxes[..., 2:]), axis=-1)
    edges = tf.concat([boxes[..., :2], boxes[..., 2:]], axis=1)  # [B, 2N, 2]: all low ones, then all high ones.
    rows, columns = _antiderivative(edges[..., 0], height), _antiderivative(edges[..., 1], width)
    strips = tf.matmul(rows, tf.reshape(tf.cast(features, tf.float64), [-1, height, width * size]))
    points = tf.matmul(columns[:, tf.newaxis], tf.reshape(strips, [-1, 2 * count, width, size]))
    points = tf.reshape(points, [-1, (2 * count)**2, size])

    one, other = tf.gather(boxes, first, axis=1), tf.gather(boxes, second, axis=1)  # [B, P, 4]
    low = tf.where(one[..., :2] <= other[..., :2], first[:, tf.newaxis], second[:, tf.newaxis])
    high = tf.where(one[..., 2:] >= other[..., 2:], first[:, tf.newaxis], second[:, tf.newaxis]) + count

    def at(rows_from, columns_from):
        index = rows_from[..., 0] * 2 * count + columns_from[..., 1]
        return tf.gather(points, index, batch_dims=1)

    integrals = at(high, high) - at(high, low) - at(low, high) + at(low, low)
    unions = box_lib.union(one, other)
    area = tf.reduce_prod(unions[..., 2:] - unions[..., :2], axis=-1, keepdims=True)
    return tf.cast(integrals / area, features.dtype)


def _widened(low, high):
    """The ends as float64, `MIN_SIDE` apart at least, about the same centre."""
    low, high = tf.cast(low, tf.float64), tf.cast(high, tf.float64)
    centre, half = (low + high) / 2, tf.maximum(high - low, MIN_SIDE) / 2
    return centre - half, centre + half


def _antiderivative(positions, length):
    """Integral of each cell's weight from a fixed place to each position: ``[...]`` to ``[..., length]``.

    Beyond the outermost centres the outermost cell has weight 1, as the samples of the other operators.
    """
    inside = tf.clip_by_value(positions, 0.0, length - 1.0)
    offset = inside[..., tf.newaxis] - tf.range(length, dtype=positions.dtype)
    offset = tf.clip_by_value(offset, -1.0, 1.0)
    distance = tf.abs(offset)
    beyond = (positions - inside)[..., tf.newaxis] * (1.0 - distance)
    return offset * (1.0 - distance / 2) + beyond
