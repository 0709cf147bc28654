"""A region proposal network whose anchors are the boxes of a detector that is trained already.

Faster R-CNN's anchors are boxes of fixed sizes, which a few hundred images cannot teach to find things. Here each point
of the feature maps has the box that a `NanoDetHead` sees there for its anchor. The RPN's score starts as the largest of
that head's class logits and its box as the anchor itself; what a data set has of its own, classes that the detector
does not know or edges that are drawn in another way, is learned on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from dsg_tf.keras import keras

HIDDEN_UNITS = 128


class PointRPN(keras.layers.Layer):
    """Scores the boxes of a head without anchors, and moves them.

    Args:
      head: layer from `{level: features}` to `{level: (features, class logits, boxes)}`, as `NanoDetHead`.
      describes_by_features: whether descriptors have the head's features too, or its class probabilities alone.
    """

    def __init__(self, head, describes_by_features: bool, **kwargs):
        super().__init__(**kwargs)
        self.head, self.describes_by_features = head, describes_by_features
        self.hidden = keras.layers.Dense(HIDDEN_UNITS, activation="relu", name="hidden")
        self.score = keras.layers.Dense(1, kernel_initializer="zeros", name="score")
        self.deltas = keras.layers.Dense(4, kernel_initializer="zeros", name="deltas")

    def call(self, levels: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        """Scores and boxes of K points, level after level.

        Args:
          levels: by level, `[B, H', W', C]`.
          training: has no effect; there is no normalisation.

        Returns:
          scores: float32 `[B, K]`, logits; boxes: float32 `[B, K, 4]`, encoded with weights of 1; anchors: float32
          `[B, K, 4]`, pixels of the network input, without gradient; descriptors: `[B, K, .]`, what the head sees;
          class_logits: float32 `[B, K, C]`; level_sizes: K of each level.
        """
        of_level = self.head(levels)
        parts = [of_level[name] for name in sorted(of_level, key=int)]
        sizes = [int(features.shape[1] * features.shape[2]) for features, _, _ in parts]
        flat = [
            [tf.reshape(part, [-1, size, part.shape[-1]]) for part, size in zip(values, sizes)]
            for values in zip(*parts)
        ]
        features, logits, anchors = (tf.concat(values, axis=1) for values in flat)
        logits = tf.cast(logits, tf.float32)
        probabilities = tf.cast(tf.sigmoid(logits), features.dtype)
        seen = tf.concat([probabilities, features], axis=-1)
        hidden = self.hidden(seen)
        scores = tf.reduce_max(logits, axis=-1) + tf.cast(self.score(hidden), tf.float32)[..., 0]
        return {
            "scores": scores,
            "boxes": tf.cast(self.deltas(hidden), tf.float32),
            "anchors": tf.stop_gradient(anchors),
            "descriptors": seen if self.describes_by_features else probabilities,
            "class_logits": logits,
            "level_sizes": sizes,
        }
