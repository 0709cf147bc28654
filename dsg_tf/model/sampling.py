"""Bilinear samples of feature maps at places given in pixels.

Feature cell `c` of a map with stride `s` covers the pixels `c * s` to `(c + 1) * s`, so pixel coordinate `y` lies at
feature coordinate `y / s - 0.5`. Samples lie at the centres of bins (ROI-Align), and those beyond the outermost cell
centres take that cell's value.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib


def feature_coordinates(pixels, stride: int):
    """Where pixel coordinates lie on a map: the cells' centres have whole numbers."""
    return pixels / stride - 0.5


def sampled_weights(low, high, length: int, *, grid: int, samples: int):
    """Mean bilinear weights of cells at the centres of bins.

    Args:
      low, high: `[B, R]`, the ends of the intervals, feature coordinates.
      length: cells of the map's side.
      grid: parts of each interval.
      samples: bins of each part.

    Returns:
      `[B, R, grid, length]`; each part's weights sum to 1.
    """
    count = grid * samples
    fractions = tf.reshape((tf.range(count, dtype=tf.float32) + 0.5) / count, [grid, samples])
    positions = low[..., tf.newaxis, tf.newaxis] + (high - low)[..., tf.newaxis, tf.newaxis] * fractions
    positions = tf.clip_by_value(positions, 0.0, length - 1.0)
    distance = tf.abs(positions[..., tf.newaxis] - tf.range(length, dtype=tf.float32))
    return tf.reduce_mean(tf.maximum(1.0 - distance, 0.0), axis=-2)


def crop_bin_centers(features, boxes, count: int):
    """`tf.image.crop_and_resize` at the centres of `count` x `count` bins.

    Args:
      features: `[B, H', W', C]`.
      boxes: `[B, R, 4]`, feature coordinates.
      count: bins a side.

    Returns:
      `[B * R, count, count, C]`.
    """
    # One replicated cell around the map clamps samples beyond the outermost centres, and moves coordinates by 1.
    padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    height, width = padded.shape[1:3]
    # The operation samples at the ends of the box it is given: give it the first and last bin centres.
    half_bin = (boxes[..., 2:] - boxes[..., :2]) / (2.0 * count)
    ends = tf.concat([boxes[..., :2] + half_bin, boxes[..., 2:] - half_bin], axis=-1) + 1.0
    ends = box_lib.normalize(ends, tf.constant([height - 1.0, width - 1.0]))
    image_of_box = tf.repeat(tf.range(tf.shape(boxes)[0]), boxes.shape[1])
    return tf.image.crop_and_resize(padded, tf.reshape(ends, [-1, 4]), image_of_box, [count, count])
