"""Features of boxes and of the union boxes of pairs.

The paper, section 3.2 "Relation Feature Extractor"; the supplement, section 1 (7x7x2048 to 7x7x512 to 1x512).
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import unordered_pairs
from dsg_tf.model.pooling import RegionPooling


class EntityFeatures(keras.layers.Layer):
    """`f_i` of each box: `RegionPooling`, and with a grid of more than one cell a linear map of all cells to D."""

    def __init__(self, feature_size: int, *, op: str, grid: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.pooling = RegionPooling(feature_size, op=op, grid=grid, name="pooling")
        self.project = keras.layers.Dense(feature_size, name="project") if grid > 1 else None

    def call(self, maps: Mapping[int, tf.Tensor], boxes, training: bool = False):
        """Maps by level and boxes `[B, N, 4]` (pixels) to `[B, N, D]`; arguments as of `RegionPooling`."""
        pooled = self.pooling(maps, boxes, training)
        cells, size = self.pooling.grid**2, self.pooling.filters
        if self.project is None:
            return tf.reshape(pooled, [-1, boxes.shape[1], size])
        return self.project(tf.nn.relu(tf.reshape(pooled, [-1, boxes.shape[1], cells * size])))


class PairFeatures(keras.layers.Layer):
    """`f_ij` of the union box of each pair. The union is symmetric: each unordered pair is pooled once."""

    def __init__(self, feature_size: int, *, op: str, **kwargs):
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.pooling = RegionPooling(feature_size, op=op, name="pooling")

    def call(self, maps: Mapping[int, tf.Tensor], boxes, training: bool = False):
        """Features and boxes of all pairs.

        Args:
          maps, training: as of `RegionPooling`.
          boxes: float32 `[B, N, 4]`, pixels.

        Returns:
          `[B, P, D]` features and float32 `[B, P, 4]` union boxes, rows in the order of `unordered_pairs.indices`.
        """
        first, second = unordered_pairs.indices(boxes.shape[1])
        unions = box_lib.union(tf.gather(boxes, first, axis=1), tf.gather(boxes, second, axis=1))
        return tf.reshape(self.pooling(maps, unions, training), [-1, len(first), self.feature_size]), unions
