"""Pooling of regions: ROI-Align, a 1x1 convolution and an average pool, from one feature map or from several.

Bilinear sampling, a 1x1 convolution without activation and averaging are linear, so they commute. The pooled feature
of a box is `sum_yx wy[y] * wx[x] * map[y, x]`, with `wy` and `wx` the mean bilinear weights of its sample rows
and columns: a product of three matrices, `[regions, cells] x [cells, C] x [C, D]`, of which the cheaper pair comes
first. With several levels the cells are those of all maps, and a region has weights on its own level alone.
`crop_and_resize` is the textbook path; both give the same numbers. "integral" averages over the whole box instead of
samples of it (`dsg_tf.model.box_integrals`), and is smooth in the boxes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import box_integrals
from dsg_tf.model.sampling import crop_bin_centers, feature_coordinates, sampled_weights

SAMPLES = 7  # Bins a side of the paper's ROI-Align; one sample at the centre of each.
# Products with a factor that needs a gradient are made once more for each such factor. The kernel and the map need one,
# so their product counts three times; the weights need none, so products with them count twice.
PRODUCTS_WITH_KERNEL, PRODUCTS_WITH_WEIGHTS = 3, 2
# A box of this side, pixels, is pooled from this level (Lin et al. 2017, "Feature Pyramid Networks", equation 1).
CANONICAL_SIDE, CANONICAL_LEVEL = 224.0, 4


def level_of(boxes, min_level: int, max_level: int):
    """The level that boxes float32 `[..., 4]` (pixels) are pooled from, int32 `[...]`, as Model Garden chooses it."""
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    octave = tf.math.log(tf.maximum(area, 1.0) / CANONICAL_SIDE**2) / (2 * np.log(2.0))
    return tf.clip_by_value(tf.cast(tf.floor(octave), tf.int32) + CANONICAL_LEVEL, min_level, max_level)


class RegionPooling(keras.layers.Layer):
    """Pools boxes from feature maps to `[B, R, grid, grid, filters]`.

    Args:
      filters: D, output channels of the 1x1 convolution (no activation).
      op: "matmul", "crop_and_resize" or "integral".
      grid: cells a side of the result; 1 averages over the whole box, as the paper does.
    """

    def __init__(self, filters: int, *, op: str = "matmul", grid: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.op, self.grid = filters, op, grid
        self.samples = -(-SAMPLES // grid)  # Samples a side of each cell: no fewer than 7 over the box.
        # A 1x1 convolution, as the matrix product that it is: on CPUs its gradient is ten times as fast.
        self.convolution = keras.layers.Dense(filters, name="reduce")

    def call(self, maps: Mapping[int, tf.Tensor], boxes, training: bool = False):
        """Pools.

        Args:
          maps: by level l (stride `2**l`), `[B, H', W', C]`; of several, each box has that of its size (`level_of`).
          boxes: float32 `[B, R, 4]`, pixels of the network input; the part beyond a map is ignored.
          training: whether a gradient will be taken, which changes what is cheaper, not what comes out.

        Returns:
          `[B, R, grid, grid, filters]`.
        """
        levels = level_of(boxes, min(maps), max(maps))
        of_level = {level: tf.cast(levels == level, tf.float32) for level in maps} if len(maps) > 1 else {}
        if self.op == "crop_and_resize":
            return self._crop(maps, boxes, of_level)
        return self._sum_cells(maps, boxes, of_level, training)

    def _crop(self, maps, boxes, of_level):
        """The textbook path: crops of the map, the convolution, the mean."""
        batch, regions, count = tf.shape(boxes)[0], boxes.shape[1], self.grid * self.samples
        crops = []
        for level, features in maps.items():
            crop = crop_bin_centers(features, _on_map(boxes, features, level), count)
            crops.append(_of_level(crop, of_level, level, [-1, 1, 1, 1]))
        reduced = self.convolution(tf.cast(tf.add_n(crops), self.compute_dtype))
        cells = tf.reshape(reduced, [batch, regions, self.grid, self.samples, self.grid, self.samples, self.filters])
        return tf.reduce_mean(cells, axis=(3, 5))

    def _sum_cells(self, maps, boxes, of_level, training: bool):
        """A weighted sum of the maps' cells, convolved before or after."""
        regions = boxes.shape[1] * self.grid**2
        weights, values = [], []
        for level, features in maps.items():
            cells, channels = features.shape[1] * features.shape[2], features.shape[3]
            weight = self._weights(_on_map(boxes, features, level), features.shape[1:3])
            weight = _of_level(weight, of_level, level, [-1, boxes.shape[1], 1, 1, 1, 1])
            weights.append(tf.cast(tf.reshape(weight, [-1, regions, cells]), self.compute_dtype))
            values.append(tf.cast(tf.reshape(features, [-1, cells, channels]), self.compute_dtype))
        of_cells = tf.concat(weights, axis=2) if len(maps) > 1 else weights[0]
        cell_values = tf.concat(values, axis=1) if len(maps) > 1 else values[0]
        cells, channels = cell_values.shape[1:]
        if map_first(regions, cells, channels, self.filters, training):
            pooled = tf.matmul(of_cells, self.convolution(cell_values))
        else:  # The weights of a region add up to 1, so the bias may come last.
            pooled = self.convolution(tf.matmul(of_cells, cell_values))
        return tf.reshape(pooled, [-1, boxes.shape[1], self.grid, self.grid, self.filters])

    def _weights(self, boxes, size):
        """Of each cell of a map, `[B, R, grid, grid, H', W']`."""
        rows = self._side_weights(boxes[..., 0], boxes[..., 2], size[0])  # [B, R, grid, H']
        columns = self._side_weights(boxes[..., 1], boxes[..., 3], size[1])  # [B, R, grid, W']
        # `tf.newaxis` would be a slice of a rank that LiteRT does not have.
        rows = tf.expand_dims(tf.expand_dims(rows, 3), 5)
        return rows * tf.expand_dims(tf.expand_dims(columns, 2), 4)

    def _side_weights(self, low, high, length: int):
        if self.op == "integral":
            return box_integrals.mean_weights(low, high, length, self.grid)
        return sampled_weights(low, high, length, grid=self.grid, samples=self.samples)


def _on_map(boxes, features, level: int):
    """Boxes in the coordinates of a map, clipped to it."""
    limits = tf.constant(np.array(features.shape[1:3], np.float32) * 2**level)
    limits = tf.broadcast_to(limits, [tf.shape(boxes)[0], 2])
    return feature_coordinates(box_lib.clip(boxes, limits), 2**level)


def _of_level(values, of_level, level: int, shape):
    """Values, zero for boxes of another level."""
    return values * tf.reshape(tf.cast(of_level[level], values.dtype), shape) if of_level else values


def map_first(regions: int, cells: int, channels: int, filters: int, training: bool) -> bool:
    """Whether `weights x (map x kernel)` takes fewer multiplications than `(weights x map) x kernel`."""
    with_kernel, with_weights = (PRODUCTS_WITH_KERNEL, PRODUCTS_WITH_WEIGHTS) if training else (1, 1)
    return (
        with_kernel * cells * channels * filters + with_weights * regions * cells * filters
        < with_weights * regions * cells * channels + with_kernel * regions * channels * filters
    )
