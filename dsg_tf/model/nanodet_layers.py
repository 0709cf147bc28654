"""What NanoDet-Plus is made of: convolutions with a bias and leaky ReLU, ShuffleNetV2's units, the ghost block.

ShuffleNetV2: Ma et al. 2018, arXiv:1807.11164. Ghost modules: Han et al. 2020, arXiv:1911.11907.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.keras import keras

SLOPE = 0.1


def leaky_relu(features: tf.Tensor) -> tf.Tensor:
    return tf.nn.leaky_relu(features, SLOPE)


def pointwise(filters: int, activation=leaky_relu) -> keras.layers.Conv2D:
    return keras.layers.Conv2D(filters, 1, activation=activation)


def padded(features: tf.Tensor, kernel: int, value: float = 0.0) -> tf.Tensor:
    """`kernel // 2` more pixels on all sides: TensorFlow's "same" would have none at the top and left for stride 2."""
    sides = [kernel // 2, kernel // 2]
    return tf.pad(features, [[0, 0], sides, sides, [0, 0]], constant_values=value)


class Depthwise(keras.layers.DepthwiseConv2D):
    """Depthwise convolution `[B, H, W, C]` to `[B, ceil(H / strides), ceil(W / strides), C]`."""

    def __init__(self, kernel_size: int, strides: int = 1, activation=leaky_relu, **kwargs):
        padding = "same" if strides == 1 else "valid"
        super().__init__(kernel_size, strides=strides, padding=padding, activation=activation, **kwargs)

    def call(self, inputs):
        if self.strides[0] == 2:
            inputs = padded(inputs, self.kernel_size[0])
        return super().call(inputs)


class Separable(keras.layers.Layer):
    """Depthwise, then pointwise convolution, `[B, H, W, C]` to `[B, ceil(H / strides), ceil(W / strides), filters]`.

    Args:
      depthwise_activation, activation: after the one and the other; None: linear.
    """

    def __init__(
        self, filters, kernel_size, strides=1, depthwise_activation=leaky_relu, activation=leaky_relu, **kwargs
    ):
        super().__init__(**kwargs)
        self.depthwise = Depthwise(kernel_size, strides, depthwise_activation)
        self.pointwise = pointwise(filters, activation)

    def call(self, features):
        return self.pointwise(self.depthwise(features))


class ShuffleStage(keras.layers.Layer):
    """ShuffleNetV2's stage, `[B, H, W, C']` to `[B, H / 2, W / 2, filters]`: a unit that halves, and `repeats` others.

    Half of the channels passes a unit by; the shuffle gives each next unit of both halves.
    """

    def __init__(self, filters: int, repeats: int, **kwargs):
        super().__init__(**kwargs)
        half = filters // 2
        self.shortcut = Separable(half, 3, 2, depthwise_activation=None)
        self.expand = [pointwise(half) for _ in range(repeats + 1)]
        self.branch = [
            Separable(half, 3, 2 if unit == 0 else 1, depthwise_activation=None) for unit in range(repeats + 1)
        ]

    def call(self, features):
        kept, taken = self.shortcut(features), features
        for expand, branch in zip(self.expand, self.branch):
            features = shuffled(kept, branch(expand(taken)))
            kept, taken = tf.split(features, 2, axis=-1)
        return features


def shuffled(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The channels of both in turns, `[B, H, W, C]` twice to `[B, H, W, 2 * C]`."""
    _, height, width, channels = first.shape
    return tf.reshape(tf.stack([first, second], axis=-1), [-1, height, width, 2 * channels])


class GhostBlock(keras.layers.Layer):
    """The neck's block, `[B, H, W, 2 * filters]` to `[B, H, W, filters]`: two ghost modules beside a shortcut.

    A ghost module computes half of its channels and derives the other half of them by a depthwise convolution.
    """

    def __init__(self, filters: int, kernel_size: int, **kwargs):
        super().__init__(**kwargs)
        self.expand, self.expand_ghost = pointwise(filters // 2), Depthwise(3)
        self.project, self.project_ghost = pointwise(filters // 2, None), Depthwise(3, activation=None)
        self.shortcut = Separable(filters, kernel_size, depthwise_activation=None, activation=None)

    def call(self, features):
        half = self.expand(features)
        half = self.project(tf.concat([half, self.expand_ghost(half)], axis=-1))
        return tf.concat([half, self.project_ghost(half)], axis=-1) + self.shortcut(features)
