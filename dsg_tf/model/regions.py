"""Region features: ROI-Align, a 1x1 convolution and an average pool, for boxes and for the union boxes of pairs.

The paper, section 3.2 "Relation Feature Extractor"; the supplement, section 1 (7x7x2048 to 7x7x512 to 1x512).

Bilinear sampling, a 1x1 convolution without activation and averaging are linear, so they commute. The pooled feature
of a box is `sum_yx wy[y] * wx[x] * map[y, x]`, with `wy` and `wx` the mean bilinear weights of its sample rows
and columns: a product of three matrices, `[regions, H'W'] x [H'W', C] x [C, D]`, of which the cheaper pair comes
first. `crop_and_resize` is the textbook path; both give the same numbers. "integral" averages over the whole box
instead of samples of it (`dsg_tf.model.box_integrals`), and is smooth in the boxes.

Coordinates: feature cell `c` of a map with stride `s` covers the pixels `c * s` to `(c + 1) * s`, so pixel
coordinate `y` lies at feature coordinate `y / s - 0.5`. Samples lie at the centres of the bins (ROI-Align), and
those beyond the outermost cell centres take that cell's value.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import box_integrals, unordered_pairs

SAMPLES = 7  # Bins a side of the paper's ROI-Align; one sample at the centre of each.
# Products with a factor that needs a gradient are made once more for each such factor. The kernel and the map need one,
# so their product counts three times; the weights need none, so products with them count twice.
PRODUCTS_WITH_KERNEL, PRODUCTS_WITH_WEIGHTS = 3, 2


def feature_coordinates(pixels, stride: int):
    """Where pixel coordinates lie on a map: the cells' centres have whole numbers."""
    return pixels / stride - 0.5


class RegionPooling(keras.layers.Layer):
    """Pools boxes from a feature map to `[B, R, grid, grid, filters]`.

    Args:
      filters: D, output channels of the 1x1 convolution (no activation).
      stride: pixels of the network input per feature cell.
      op: "matmul", "crop_and_resize" or "integral".
      grid: cells a side of the result; 1 averages over the whole box, as the paper does.
    """

    def __init__(self, filters: int, *, stride: int, op: str = "matmul", grid: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.stride, self.op, self.grid = filters, stride, op, grid
        self.samples = -(-SAMPLES // grid)  # Samples a side of each cell: no fewer than 7 over the box.
        # A 1x1 convolution, as the matrix product that it is: on CPUs its gradient is ten times as fast.
        self.convolution = keras.layers.Dense(filters, name="reduce")

    def call(self, features, boxes, training: bool = False):
        """Pools.

        Args:
          features: `[B, H', W', C]`.
          boxes: float32 `[B, R, 4]`, pixels of the network input; the part beyond the map is ignored.
          training: whether a gradient will be taken, which changes what is cheaper, not what comes out.

        Returns:
          `[B, R, grid, grid, filters]`.
        """
        map_size = np.array(features.shape[1:3], np.float32) * self.stride
        limits = tf.broadcast_to(tf.constant(map_size), [tf.shape(boxes)[0], 2])
        boxes = feature_coordinates(box_lib.clip(boxes, limits), self.stride)
        if self.op == "crop_and_resize":
            return self._crop(features, boxes)
        return self._sum_cells(features, boxes, training)

    def _crop(self, features, boxes):
        """The textbook path: crops of the map, the convolution, the mean."""
        batch, regions, count = tf.shape(boxes)[0], boxes.shape[1], self.grid * self.samples
        crops = crop_bin_centers(features, boxes, count)
        reduced = self.convolution(tf.cast(crops, self.compute_dtype))
        cells = tf.reshape(reduced, [batch, regions, self.grid, self.samples, self.grid, self.samples, self.filters])
        return tf.reduce_mean(cells, axis=(3, 5))

    def _sum_cells(self, features, boxes, training: bool):
        """A weighted sum of the map's cells, convolved before or after."""
        height, width, channels = features.shape[1:]
        rows = self._cell_weights(boxes[..., 0], boxes[..., 2], height)  # [B, R, grid, H']
        columns = self._cell_weights(boxes[..., 1], boxes[..., 3], width)  # [B, R, grid, W']
        weights = rows[:, :, :, tf.newaxis, :, tf.newaxis] * columns[:, :, tf.newaxis, :, tf.newaxis, :]
        regions, cells = boxes.shape[1] * self.grid**2, height * width
        weights = tf.cast(tf.reshape(weights, [-1, regions, cells]), self.compute_dtype)
        cell_values = tf.cast(tf.reshape(features, [-1, cells, channels]), self.compute_dtype)
        if map_first(regions, cells, channels, self.filters, training):
            pooled = tf.matmul(weights, self.convolution(cell_values))
        else:  # The weights of a region add up to 1, so the bias may come last.
            pooled = self.convolution(tf.matmul(weights, cell_values))
        return tf.reshape(pooled, [-1, boxes.shape[1], self.grid, self.grid, self.filters])

    def _cell_weights(self, low, high, length: int):
        if self.op == "integral":
            return box_integrals.mean_weights(low, high, length, self.grid)
        return sampled_weights(low, high, length, grid=self.grid, samples=self.samples)


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


def sample_grid(features, boxes, count: int, stride: int):
    """Bilinear samples at the centres of `count` x `count` bins: rows of the map first, then columns of those.

    The same as `crop_bin_centers`, by products of matrices. Each box has its own rows: where the map is large and the
    boxes few, this is far less than a weight for each of the map's cells.

    Args:
      features: `[B, H', W', C]`.
      boxes: `[B, R, 4]`, pixels of the network input.
      count: bins a side.
      stride: pixels of the network input per cell.

    Returns:
      `[B, R, count, count, C]`.
    """
    boxes = feature_coordinates(boxes, stride)
    height, width, channels = features.shape[1:]
    rows = sampled_weights(boxes[..., 0], boxes[..., 2], height, grid=count, samples=1)
    columns = sampled_weights(boxes[..., 1], boxes[..., 3], width, grid=count, samples=1)
    rows = tf.reshape(tf.cast(rows, features.dtype), [-1, boxes.shape[1] * count, height])
    strips = tf.matmul(rows, tf.reshape(features, [-1, height, width * channels]))
    strips = tf.reshape(strips, [-1, boxes.shape[1], count, width, channels])
    return tf.matmul(tf.cast(columns, features.dtype)[:, :, tf.newaxis], strips)


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


def map_first(regions: int, cells: int, channels: int, filters: int, training: bool) -> bool:
    """Whether `weights x (map x kernel)` takes fewer multiplications than `(weights x map) x kernel`."""
    with_kernel, with_weights = (PRODUCTS_WITH_KERNEL, PRODUCTS_WITH_WEIGHTS) if training else (1, 1)
    return (
        with_kernel * cells * channels * filters + with_weights * regions * cells * filters
        < with_weights * regions * cells * channels + with_kernel * regions * channels * filters
    )


class EntityFeatures(keras.layers.Layer):
    """`f_i` of each box: `RegionPooling`, and with a grid of more than one cell a linear map of all cells to D."""

    def __init__(self, feature_size: int, *, stride: int, op: str, grid: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.pooling = RegionPooling(feature_size, stride=stride, op=op, grid=grid, name="pooling")
        self.project = keras.layers.Dense(feature_size, name="project") if grid > 1 else None

    def call(self, features, boxes, training: bool = False):
        """`[B, H', W', C]` and boxes `[B, N, 4]` (pixels) to `[B, N, D]`; `training` as of `RegionPooling`."""
        pooled = self.pooling(features, boxes, training)
        cells, size = self.pooling.grid**2, self.pooling.filters
        if self.project is None:
            return tf.reshape(pooled, [-1, boxes.shape[1], size])
        return self.project(tf.nn.relu(tf.reshape(pooled, [-1, boxes.shape[1], cells * size])))


class PairFeatures(keras.layers.Layer):
    """`f_ij` of the union box of each pair. The union is symmetric: each unordered pair is pooled once."""

    def __init__(self, feature_size: int, *, stride: int, op: str, **kwargs):
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.pooling = RegionPooling(feature_size, stride=stride, op=op, name="pooling")

    def call(self, features, boxes, training: bool = False):
        """Features and boxes of all pairs.

        Args:
          features: `[B, H', W', C]`.
          boxes: float32 `[B, N, 4]`, pixels.
          training: as of `RegionPooling`.

        Returns:
          `[B, P, D]` features and float32 `[B, P, 4]` union boxes, rows in the order of `unordered_pairs.indices`.
        """
        first, second = unordered_pairs.indices(boxes.shape[1])
        unions = box_lib.union(tf.gather(boxes, first, axis=1), tf.gather(boxes, second, axis=1))
        return tf.reshape(self.pooling(features, unions, training), [-1, len(first), self.feature_size]), unions
