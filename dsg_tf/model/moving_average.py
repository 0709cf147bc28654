"""The moving average of a model's weights, which is what is evaluated and exported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf


class MovingAverage(tf.Module):
    """Exponential moving average of variables, batch-norm statistics included.

    The decay warms up as min(decay, (1 + t) / (10 + t)), so that the initial weights are soon forgotten. (Keras's own
    average has no warm-up and leaves batch-norm statistics out; Model Garden's works with legacy optimizers only.)

    Args:
      variables: what to average; make this object in the scope of the strategy that made them.
      decay: in [0, 1).
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        super().__init__()
        # Behind a function, so that checkpoints do not name the variables after this object instead of the model.
        self._variables = lambda: variables
        self.decay = decay
        self.averages = [tf.Variable(v, trainable=False, name="average") for v in variables]

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the variables; call after step `step` (from 1), outside `Strategy.run`."""
        step = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self._variables()):
            value = tf.convert_to_tensor(variable)
            if value.dtype.is_floating:
                average.assign(average + tf.cast(rate, value.dtype) * (value - average))
            else:
                average.assign(value)

    def copy_to_variables(self) -> None:
        for average, variable in zip(self.averages, self._variables()):
            variable.assign(tf.convert_to_tensor(average))

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The variables hold their averages inside the block, and their own values after it."""
        own = [tf.identity(v) for v in self._variables()]
        self.copy_to_variables()
        try:
            yield
        finally:
            for variable, value in zip(self._variables(), own):
                variable.assign(value)
