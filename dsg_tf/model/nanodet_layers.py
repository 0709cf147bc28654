"""What NanoDet-Plus is made of: convolutions with a bias and leaky ReLU, ShuffleNetV2's units, the ghost block.

ShuffleNetV2: Ma et al. 2018, arXiv:1807.11164. Ghost modules: Han et al. 2020, arXiv:1911.11907.
"""

from __future__ import annotations

import numpy as np
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
        self,
        filters: int,
        kernel_size: int,
        strides: int = 1,
        depthwise_activation=leaky_relu,
        activation=leaky_relu,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.depthwise = Depthwise(kernel_size, strides, depthwise_activation)
        self.pointwise = pointwise(filters, activation)

    def call(self, features):
        return self.pointwise(self.depthwise(features))


class ShuffleStage(keras.layers.Layer):
    """ShuffleNetV2's stage, `[B, H, W, C]` to `[B, H / 2, W / 2, filters]`: a unit that halves, and `repeats` others.

    A unit takes half of the channels, the others pass it by; before the next unit both halves are shuffled. Shuffling
    would cost a fifth of the network's time on CPUs. Here, what a convolution makes is split into what each later unit
    takes of it: units, and what comes after the stage, get the channels that shuffles would have given them, in another
    order, in which their kernels have their rows.
    """

    def __init__(self, filters: int, repeats: int, **kwargs):
        super().__init__(**kwargs)
        half, units = filters // 2, range(repeats + 1)
        self.piece_sizes = piece_sizes(filters, repeats)
        self.shortcut = Separable(half, 3, 2, depthwise_activation=None)
        self.expand = [pointwise(half) for _ in units]
        self.branch = [Separable(half, 3, 1 if unit else 2, depthwise_activation=None) for unit in units]

    def call(self, features):
        waiting = [tf.split(self.shortcut(features), self.piece_sizes[0], axis=-1)]
        for sizes, expand, branch in zip(self.piece_sizes[1:], self.expand, self.branch):
            waiting.append(tf.split(branch(expand(features)), sizes, axis=-1))
            features = tf.concat([pieces.pop() for pieces in waiting], axis=-1)
        return features


def piece_sizes(filters: int, repeats: int) -> list[list[int]]:
    """How many channels of the shortcut and of each unit's branch go to which unit.

    Returns:
      For the shortcut, then for each unit, the sizes of consecutive pieces: the first piece leaves the stage, the last
      one goes to the next unit, and so on.
    """
    half = filters // 2
    made = np.arange((repeats + 2) * half).reshape(-1, half)
    sizes: list[list[int]] = [[] for _ in made]
    passing = made[0]
    for unit in range(repeats + 1):
        shuffled = np.stack([passing, made[unit + 1]], axis=1).ravel()
        passing, taken = np.split(shuffled, 2)
        if unit == repeats:
            taken = shuffled
        for origin, size in enumerate(np.bincount(taken // half)):
            sizes[origin].insert(0, int(size))
    return sizes


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
