"""What a relation does to attention: learned convolutions (SSAS) or one fixed shift (spatial shifts).

Krishna et al. 2018, sections 4.2 and 5.2.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.keras import keras

MAP_SIZE = 14


class ConvolutionalShift(keras.layers.Layer):
    """A stack of convolutions per relation, ReLU, without bias; the last has one channel.

    Only the kernels of the relations that are asked for are gathered and applied: each map has its own, so that a
    convolution is a product of the map's patches with its kernel.

    Args:
      num_relations: R.
      num_layers, kernel_size, channels: of the stack.
    """

    def __init__(self, num_relations: int, *, num_layers: int = 4, kernel_size: int = 5, channels: int = 8, **kwargs):
        super().__init__(**kwargs)
        self.num_relations, self.kernel_size = num_relations, kernel_size
        self.channels = [1] + [channels] * (num_layers - 1) + [1]

    def build(self, input_shape):
        self.kernels = []
        for layer, (inputs, outputs) in enumerate(zip(self.channels, self.channels[1:])):
            fan_in = self.kernel_size**2 * inputs
            self.kernels.append(self.add_weight(
                f"kernels{layer}", [self.num_relations, fan_in, outputs],
                initializer=keras.initializers.RandomNormal(stddev=(2.0 / fan_in) ** 0.5)))

    def call(self, maps, relations):
        """Maps ``[B, Q, 14, 14]`` and relations int32 ``[B, Q]`` to maps ``[B, Q, 14, 14]``, at least 0."""
        size = self.kernel_size
        values = tf.reshape(maps, [-1, MAP_SIZE, MAP_SIZE, 1])
        relations = tf.reshape(relations, [-1])
        for kernels, channels in zip(self.kernels, self.channels[1:]):
            patches = tf.image.extract_patches(values, [1, size, size, 1], [1, 1, 1, 1], [1, 1, 1, 1], "SAME")
            patches = tf.reshape(patches, [-1, MAP_SIZE**2, kernels.shape[1]])
            values = tf.nn.relu(tf.matmul(patches, tf.cast(tf.gather(kernels, relations), patches.dtype)))
            values = tf.reshape(values, [-1, MAP_SIZE, MAP_SIZE, channels])
        return tf.reshape(values, tf.shape(maps))


class StatisticalShift(keras.layers.Layer):
    """Moves a map by the relation's mean displacement, with bilinear weights; what comes from outside is 0.

    Args:
      num_relations: R.
      direction: 1 from subject to object, -1 back.
    """

    def __init__(self, num_relations: int, *, direction: int, **kwargs):
        super().__init__(**kwargs)
        self.num_relations, self.direction = num_relations, direction

    def build(self, input_shape):
        # Cells (dy, dx) from subject to object centre; measured on the training set, not learned.
        self.displacements = self.add_weight("displacements", [self.num_relations, 2], initializer="zeros",
                                             trainable=False)

    def call(self, maps, relations):
        """Maps ``[B, Q, 14, 14]`` and relations int32 ``[B, Q]`` to shifted maps."""
        shifts = self.direction * tf.gather(tf.cast(self.displacements, maps.dtype), relations)
        rows, columns = _shift_matrices(shifts[..., 0]), _shift_matrices(shifts[..., 1])
        return tf.matmul(tf.matmul(rows, maps), columns, transpose_b=True)


def _shift_matrices(shifts):
    """``[..., 14, 14]`` matrices whose product with a vector of cells moves it by ``shifts`` ``[...]`` cells."""
    cells = tf.range(MAP_SIZE, dtype=shifts.dtype)
    distance = cells[:, tf.newaxis] - cells - shifts[..., tf.newaxis, tf.newaxis]
    return tf.maximum(1.0 - tf.abs(distance), 0.0)
