"""NanoDet-Plus-m, head: the classes and the box of each cell."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from dsg_tf.data import coco_classes
from dsg_tf.keras import keras
from dsg_tf.model.nanodet_layers import Separable, pointwise
from dsg_tf.model.nanodet_plus import CHANNELS, STRIDES

NUM_CLASSES = len(coco_classes.NAMES)
SIDES, BINS = 4, 8
_KERNEL = 5


class HeadLevel(keras.layers.Layer):
    """One level's part: `[B, h, w, 96]` to features `[B, h, w, 96]` and outputs `[B, h, w, 80 + 4 * 8]`."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = Separable(CHANNELS, _KERNEL), Separable(CHANNELS, _KERNEL)
        self.predict = pointwise(NUM_CLASSES + SIDES * BINS, None)

    def call(self, features):
        features = self.second(self.first(features))
        return features, self.predict(features)


class NanoDetHead(keras.layers.Layer):
    """The head; each level has its own weights.

    A cell stands for the point (x * stride, y * stride), the top left corner of its pixels. The distance of a box's
    side from it is the mean of a distribution over 0 to 7 strides.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.levels = {level: HeadLevel() for level in STRIDES}

    def call(self, levels: Mapping[str, tf.Tensor]) -> dict[str, tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
        """Runs the head.

        Args:
          levels: "3" to "6", `[B, h, w, 96]`, of `NanoDetPlus`; others are ignored.

        Returns:
          Per level: features `[B, h, w, 96]`, what classes and boxes are computed from; class logits `[B, h, w, 80]`,
          one sigmoid each; boxes float32 `[B, h, w, 4]`, y0, x0, y1, x1 in pixels of the input, not clipped.
        """
        result = {}
        for level, part in self.levels.items():
            features, outputs = part(levels[level])
            classes, sides = tf.split(outputs, [NUM_CLASSES, SIDES * BINS], axis=-1)
            result[level] = features, classes, decoded(sides, STRIDES[level])
        return result


def decoded(sides: tf.Tensor, stride: int) -> tf.Tensor:
    """Boxes float32 `[B, h, w, 4]` of logits `[B, h, w, 4 * 8]`, sides in the order left, top, right, bottom."""
    _, height, width, _ = sides.shape
    logits = tf.reshape(tf.cast(sides, tf.float32), [-1, height, width, SIDES, BINS])
    distances = stride * tf.reduce_sum(tf.nn.softmax(logits) * tf.range(BINS, dtype=tf.float32), axis=-1)
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    x, y = tf.range(width, dtype=tf.float32) * stride, tf.range(height, dtype=tf.float32)[:, tf.newaxis] * stride
    return tf.stack([y - top, x - left, y + bottom, x + right], axis=-1)
