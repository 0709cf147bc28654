"""Moves the edges of refined boxes by what a fine feature map shows around them.

Beyond the paper, whose refinement is a linear function of z'_i: that says how large a thing is, from a map of stride 8
or 16, and leaves edges half a pixel to a pixel off. The metric's cells are smaller than most of the things it is about,
so that half a pixel counts. (A second round of refinement is that of Cai and Vasconcelos 2018, Cascade R-CNN.)
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model.sampling import sample_grid

CONTEXT = 1.5  # Sides of the region that is looked at, in sides of the box.
GRID = 10  # Samples a side of that region.


class EdgeRefiner(keras.layers.Layer):
    """A hidden layer on the node and on samples of a fine map; starts as the identity.

    Args:
      hidden_units: of the hidden layer.
      stride: pixels of the network input per cell of the fine map.
    """

    def __init__(self, hidden_units: int, *, stride: int, **kwargs):
        super().__init__(**kwargs)
        self.stride = stride
        self.look = keras.layers.Dense(hidden_units, name="look")
        self.know = keras.layers.Dense(hidden_units, use_bias=False, name="know")
        self.deltas = keras.layers.Dense(4, kernel_initializer="zeros", name="deltas")

    def call(self, features, nodes, boxes):
        """Refines.

        Args:
          features: `[B, H', W', C]`, the fine map.
          nodes: `[B, N, .]`: what is known of each box.
          boxes: float32 `[B, N, 4]`, pixels of the network input.

        Returns:
          float32 deltas and refined boxes, both `[B, N, 4]`.
        """
        samples = sample_grid(features, _enlarged(boxes), GRID, self.stride)
        samples = tf.reshape(samples, [-1, boxes.shape[1], GRID * GRID * features.shape[-1]])
        hidden = tf.nn.relu(self.look(samples) + self.know(nodes))
        deltas = tf.cast(self.deltas(hidden), tf.float32)
        return deltas, box_lib.decode(deltas, boxes)


def _enlarged(boxes):
    margins = (CONTEXT - 1.0) / 2.0 * (boxes[..., 2:] - boxes[..., :2])
    return tf.concat([boxes[..., :2] - margins, boxes[..., 2:] + margins], axis=-1)
