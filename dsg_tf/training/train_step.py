"""One training step: gradients of all devices, a look at the numbers, the update."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.training.gradients import Gradients


class TrainStep:
    """Updates the weights with one global batch, unless a number in it is not finite: then it changes nothing.

    Args:
      gradients: of the images of one device.
      optimizer: of the model's variables.
      strategy: where to run.
      clip_norm: largest norm of the gradient; 0 does not clip.
      after_update: called outside of `Strategy.run` behind each update: the step's number, the average of the weights.
    """

    def __init__(
        self,
        gradients: Gradients,
        optimizer,
        strategy: tf.distribute.Strategy,
        *,
        clip_norm: float,
        after_update=lambda: None,
    ):
        self.gradients, self.optimizer, self.strategy = gradients, optimizer, strategy
        self.clip_norm, self.after_update = clip_norm, after_update

    @tf.function(autograph=False)
    def __call__(self, batch) -> dict[str, tf.Tensor]:
        """Scalars by name: `loss/*`, `metric/*` (means over the global batch) and `optim/gradient_norm` (unclipped)."""
        gradients, scalars = self.compute(batch)
        is_finite = tf.reduce_all(tf.math.is_finite(tf.stack(list(scalars.values()))))
        tf.cond(is_finite, lambda: self._update(gradients), lambda: False)
        return scalars

    def compute(self, batch):
        """Clipped gradients of the global batch, a copy for each device, and the scalars; for a `tf.function`."""
        gradients, scalars = self.strategy.run(self._on_device, args=(batch,))
        return gradients, {name: self.strategy.experimental_local_results(value)[0] for name, value in scalars.items()}

    def _on_device(self, batch):
        gradients, sums = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, self.gradients(batch)
        )
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        means = {name: tf.math.divide_no_nan(pair[0], pair[1]) for name, pair in sums.items()}
        return gradients, {**means, "optim/gradient_norm": norm}

    def _update(self, gradients) -> bool:
        def apply(gradients):
            pairs = list(zip(gradients, self.gradients.model.trainable_variables))
            # The only name of this argument that tensorflow-addons' optimizers know too.
            self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)

        self.strategy.run(apply, args=(gradients,))
        self.after_update()
        return True
