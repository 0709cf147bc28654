"""What a relation does to attention: learned convolutions (SSAS) or one fixed shift (spatial shifts).

Krishna et al. 2018, sections 4.2 and 5.2.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.keras import keras

MAP_SIZE = 14


class ConvolutionalShift(keras.layers.Layer):
    """A stack of convolutions per relation, ReLU, without bias; the last has one channel.

    Only the relations that are asked for run, each over all of its maps at once: four times as fast as a kernel of its
    own for each map.

    Args:
      num_relations: R.
      num_layers, kernel_size, channels: of the stack.
    """

    def __init__(self, num_relations: int, *, num_layers: int, kernel_size: int, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.num_relations, self.kernel_size = num_relations, kernel_size
        self.channels = [1] + [channels] * (num_layers - 1) + [1]

    def build(self, input_shape):
        self.kernels = []
        for layer, (inputs, outputs) in enumerate(zip(self.channels, self.channels[1:])):
            fan_in = self.kernel_size**2 * inputs
            self.kernels.append(
                self.add_weight(
                    f"kernels{layer}",
                    [self.num_relations, fan_in, outputs],
                    initializer=keras.initializers.RandomNormal(stddev=(2.0 / fan_in) ** 0.5),
                )
            )

    def call(self, maps, relations):
        """Maps `[B, Q, 14, 14]` and relations int32 `[B, Q]` to maps `[B, Q, 14, 14]`, at least 0."""
        values = tf.reshape(maps, [-1, MAP_SIZE, MAP_SIZE, 1])
        asked, which = tf.unique(tf.reshape(relations, [-1]))

        def shift_those_of(number, shifted):
            rows = tf.where(which == number)
            return number + 1, tf.tensor_scatter_nd_update(
                shifted, rows, self._convolve(tf.gather_nd(values, rows), asked[number])
            )

        _, shifted = tf.while_loop(
            lambda number, _: number < tf.size(asked), shift_those_of, (0, tf.zeros_like(values))
        )
        return tf.reshape(shifted, tf.shape(maps))

    def _convolve(self, values, relation):
        """Maps `[n, 14, 14, 1]` of one relation."""
        size = self.kernel_size
        for kernels in self.kernels:
            kernel = tf.cast(tf.reshape(kernels[relation], [size, size, -1, kernels.shape[2]]), values.dtype)
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, strides=1, padding="SAME"))
        return values


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
        self.displacements = self.add_weight(
            "displacements", [self.num_relations, 2], initializer="zeros", trainable=False
        )

    def call(self, maps, relations):
        """Maps `[B, Q, 14, 14]` and relations int32 `[B, Q]` to shifted maps."""
        shifts = self.direction * tf.gather(tf.cast(self.displacements, maps.dtype), relations)
        rows, columns = _shift_matrices(shifts[..., 0]), _shift_matrices(shifts[..., 1])
        return tf.matmul(tf.matmul(rows, maps), columns, transpose_b=True)


def _shift_matrices(shifts):
    """`[..., 14, 14]` matrices whose product with a vector of cells moves it by `shifts` `[...]` cells."""
    cells = tf.range(MAP_SIZE, dtype=shifts.dtype)
    distance = cells[:, tf.newaxis] - cells - shifts[..., tf.newaxis, tf.newaxis]
    return tf.maximum(1.0 - tf.abs(distance), 0.0)
