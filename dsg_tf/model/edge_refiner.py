"""Finds each edge of a refined box in the pixels around it.

Beyond the paper, whose refinement is a linear function of z'_i: that says how large a thing is, from a map of stride 8
or 16, and leaves edges half a pixel to a pixel off. The metric's cells are smaller than most of the things it is about,
so that half a pixel counts. One edge at a time, as in side-aware localization (Wang et al. 2020), and as a distribution
over places (Li et al. 2020, Generalized Focal Loss): a shadow and the thing itself are two places, and the mean of both
is neither.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras

ALONG = 16  # Samples along an edge.
_NEAR_CHANNELS, _FAR_CHANNELS, _PLACE_UNITS = 24, 32, 128
_KERNEL = (5, 3)  # Across the edge and along it.


class EdgeRefiner(keras.layers.Layer):
    """Convolutions on strips of pixels, the same for all four edges, and the node; starts undecided.

    Args:
      hidden_units: of the hidden layer that strip and node meet in.
      reach: pixels of the network input, to both sides of an edge, in which it is looked for.
    """

    def __init__(self, hidden_units: int, *, reach: int, **kwargs):
        super().__init__(**kwargs)
        self.reach = reach
        self.near = keras.layers.Conv2D(_NEAR_CHANNELS, _KERNEL, padding="same", activation="relu", name="near")
        self.far = keras.layers.Conv2D(_FAR_CHANNELS, _KERNEL, padding="same", activation="relu", name="far")
        self.look = keras.layers.Dense(hidden_units, name="look")
        self.know = keras.layers.Dense(hidden_units, use_bias=False, name="know")
        self.side = keras.layers.Dense(hidden_units, use_bias=False, name="side")
        self.place = keras.layers.Dense(_PLACE_UNITS, activation="relu", name="place")
        self.logits = keras.layers.Dense(2 * reach + 1, name="logits")

    def call(self, image, image_size, nodes, boxes) -> dict[str, tf.Tensor]:
        """Refines.

        Args:
          image: `[B, H, W, 3]` in 0 to 255; image_size: float32 `[B, 2]`, its un-padded part, pixels.
          nodes: `[B, N, .]`: what is known of each box.
          boxes: float32 `[B, N, 4]`, pixels of the network input.

        Returns:
          `edge_starts` float32 `[B, N, 4]`: the boxes, at whole pixels, without gradient; `edge_logits` float32
          `[B, N, 4, 2 reach + 1]`: of the places of each edge, that many pixels inside of the start, from -reach on;
          `boxes` float32 `[B, N, 4]`: with each edge at the mean of the most probable place and those beside it.
        """
        starts = tf.round(tf.stop_gradient(boxes))
        pixels = strips(image, image_size, starts, self.reach)
        shape = pixels.shape  # [B, N, 4, 2 reach, ALONG, 3]
        seen = tf.reshape(tf.cast(pixels, self.compute_dtype) / 127.5 - 1.0, [-1, *shape[3:]])
        seen = self.far(tf.nn.max_pool2d(self.near(seen), (1, 2), (1, 2), "VALID"))
        seen = tf.concat([tf.reduce_max(seen, axis=2), tf.reduce_mean(seen, axis=2)], axis=-1)
        seen = self.look(tf.reshape(seen, [-1, *shape[1:3], shape[3] * 2 * _FAR_CHANNELS]))
        known = self.know(nodes)[:, :, tf.newaxis] + self.side(tf.eye(4, dtype=self.compute_dtype))
        logits = tf.cast(self.logits(self.place(tf.nn.relu(seen + known))), tf.float32)
        return {"edge_starts": starts, "edge_logits": logits, "boxes": _moved(starts, logits)}


def strips(image, image_size, starts, reach: int):
    """The pixels around the edges of boxes, each strip from the outside to the inside.

    Args:
      image, image_size: as of `EdgeRefiner.call`.
      starts: float32 `[B, N, 4]`, whole pixels.
      reach: pixels to both sides.

    Returns:
      `[B, N, 4, 2 reach, ALONG, 3]`, of the image's type; beyond the image the pixel at its border.
    """
    height, width = image.shape[1:3]
    count = starts.shape[1]
    fractions = (tf.range(ALONG, dtype=tf.float32) + 0.5) / ALONG
    low, high = starts[..., :2, tf.newaxis], starts[..., 2:, tf.newaxis]
    steps = tf.range(-reach, reach, dtype=tf.float32)
    across = tf.concat([low + steps, high - 1.0 - steps], axis=2)  # Of an edge y0 or y1 its rows, else its columns.
    along = tf.tile((low + (high - low) * fractions)[:, :, ::-1], [1, 1, 2, 1])  # And these its columns, or rows.
    last = tf.tile(image_size - 1.0, [1, 2])[:, tf.newaxis, :, tf.newaxis]
    across = tf.clip_by_value(tf.floor(across), 0.0, last)
    along = tf.clip_by_value(tf.floor(along), 0.0, last[:, :, ::-1])
    row, column = float(width), 1.0  # What a step in the image's pixels, one row after another, amounts to.
    across *= tf.reshape([row, column, row, column], [4, 1])
    along *= tf.reshape([column, row, column, row], [4, 1])
    across = tf.reshape(across, [-1, count * 4, 2 * reach, 1])
    along = tf.reshape(along, [-1, count * 4, 1, ALONG])
    pixels = tf.reshape(image, [-1, height * width, 3])
    found = tf.gather(pixels, tf.cast(across + along, tf.int32), axis=1, batch_dims=1)
    return tf.reshape(found, [-1, count, 4, 2 * reach, ALONG, 3])


def _moved(starts, logits):
    """Boxes with each edge at the mean of the most probable place and its neighbors."""
    count = logits.shape[-1]
    places = tf.range(count, dtype=tf.float32)
    best = tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.float32)[..., tf.newaxis]
    weights = tf.where(tf.abs(places - best) <= 1.0, tf.nn.softmax(logits), 0.0)
    inside = tf.reduce_sum(weights * places, axis=-1) / tf.reduce_sum(weights, axis=-1) - (count - 1) / 2
    moved = starts + tf.constant(box_lib.INWARD) * inside
    low, high = moved[..., :2], moved[..., 2:]
    return tf.concat([tf.minimum(low, high), tf.maximum(low, high)], axis=-1)
