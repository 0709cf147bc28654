"""Unordered pairs of boxes: n (n + 1) / 2 rows in place of n^2 where both directions have the same values."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def indices(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The boxes (i, j), i <= j, of each row; every box makes a pair with itself."""
    return np.triu_indices(count)


def number_of_boxes(rows: int) -> int:
    """n, of which there are so many unordered pairs."""
    return int(np.sqrt(2 * rows))


@tf.custom_gradient
def spread(values: tf.Tensor):
    """A table of all ordered pairs.

    Its gradient adds both directions by reading, where that of a plain gather would write each row by itself.

    Args:
      values: `[B, n (n + 1) / 2, F]`, rows in the order of `indices`.

    Returns:
      `[B, n, n, F]`, symmetric.
    """
    rows, size = values.shape[1:]
    count = number_of_boxes(rows)
    first, second = indices(count)
    row_of = np.zeros([count, count], np.int32)
    row_of[first, second] = row_of[second, first] = np.arange(rows)
    other_direction = tf.constant((first != second)[:, np.newaxis], values.dtype)

    def gradient(table):
        flat = tf.reshape(table, [-1, count * count, size])
        there, back = (tf.gather(flat, cell, axis=1) for cell in (first * count + second, second * count + first))
        return there + back * other_direction

    return tf.reshape(tf.gather(values, row_of.reshape(-1), axis=1), [-1, count, count, size]), gradient
