"""Numbers that are not finite: the error that stops a run, and which images of a batch they come from."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.training.gradients import Gradients

NAMES_LISTED = 10


class NonFiniteError(FloatingPointError):
    """A loss term, the gradient or a weight is not finite. Nothing of it is in a checkpoint."""


class BadRows:
    """Finds the images that have a loss term or a gradient that is not finite by themselves.

    Args:
      gradients: of the training step.
      strategy: of the training step.
    """

    def __init__(self, gradients: Gradients, strategy: tf.distribute.Strategy):
        self.gradients, self.strategy = gradients, strategy

    def __call__(self, batch) -> list[int]:
        """Rows of this process's images. All workers must call it together."""
        rows = {name: tf.concat(self.strategy.experimental_local_results(value), 0) for name, value in batch.items()}
        return [row for row in range(len(rows["image"])) if not self._is_finite_alone(rows, row)]

    def _is_finite_alone(self, rows, row: int) -> bool:
        """Computes a batch of the same shape with one image in all rows."""
        devices = len(self.strategy.extended.worker_devices)
        same = {name: tf.repeat(value[row : row + 1], len(value) // devices, axis=0) for name, value in rows.items()}
        if self.strategy.num_replicas_in_sync > 1:
            same = self.strategy.experimental_distribute_values_from_function(lambda _, same=same: same)
        return all(bool(value) for value in self.strategy.experimental_local_results(self._is_finite(same)))

    @tf.function(autograph=False)
    def _is_finite(self, batch):
        def on_device(batch):
            values = tf.nest.flatten(self.gradients(batch))
            return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])

        return self.strategy.run(on_device, args=(batch,))


def some_of(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - NAMES_LISTED} more" if len(names) > NAMES_LISTED else ""
    return ", ".join(names[:NAMES_LISTED]) + more
