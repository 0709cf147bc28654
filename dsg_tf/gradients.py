"""The gradient of a global batch: on several devices, in parts where memory is short, with the numbers to look at."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import metrics


class Gradients:
    """Computes loss terms, their gradient and the training metrics of a batch that is spread over devices.

    Losses are means over images of per-image means, so the gradient does not depend on how the batch is split. Every
    scalar travels as (total, weight): what is logged is the mean over the whole batch, of the queries for the metrics.

    Args:
      model: with trainable variables made under ``strategy``.
      losses: of `build.build_losses`.
      strategy: where to run.
      clip_norm: largest norm of the gradient; 0 does not clip.
      parts: a device takes its images in so many parts, one after another.
      jit_compile: compile a device's work with XLA.
    """

    def __init__(self, model, losses, strategy: tf.distribute.Strategy, *, clip_norm: float, parts: int = 1,
                 jit_compile: bool = False):
        self.model, self.losses, self.strategy = model, losses, strategy
        self.clip_norm, self.parts = clip_norm, parts
        # Not a function of its own without XLA: batch norm over all devices cannot stand inside one.
        self._of_device = tf.function(self._of_parts, jit_compile=True) if jit_compile else self._of_parts
        self._names: list[str] = []

    def __call__(self, batch):
        """Computes.

        Args:
          batch: of the input pipeline, distributed by the strategy.

        Returns:
          Gradients of the trainable variables, summed over the devices and clipped; and the scalars by name, floats:
          ``loss/*``, ``metric/*`` and ``optim/gradient_norm``, that before clipping.
        """
        gradients, scalars, _ = self.compute(batch)
        return gradients, dict(zip(self._names, scalars.numpy().tolist()))

    def bad_rows(self, batch) -> list[int]:
        """Rows of this process's images that have a loss term or a gradient that is not finite by themselves.

        All workers must call it together. Nothing is compiled anew for it.
        """
        rows = {name: tf.concat(self.strategy.experimental_local_results(value), 0) for name, value in batch.items()}
        count = len(rows["image"])
        return [row for row in range(count) if not self._finite_alone(rows, row)]

    def _finite_alone(self, rows, row: int) -> bool:
        """Computes a batch of the same shape with one image in all rows."""
        devices = len(self.strategy.extended.worker_devices)
        same = {name: tf.repeat(value[row:row + 1], len(value) // devices, axis=0) for name, value in rows.items()}
        if self.strategy.num_replicas_in_sync > 1:
            same = self.strategy.experimental_distribute_values_from_function(lambda _, same=same: same)
        _, _, finite = self.compute(same)
        return all(bool(value) for value in self.strategy.experimental_local_results(finite))

    @tf.function
    def compute(self, batch):
        """Gradients, the scalars' values as one vector, and for each device whether its own are finite."""
        gradients, scalars, finite = self.strategy.run(self._summed, args=(batch,))
        return gradients, self.strategy.reduce(tf.distribute.ReduceOp.MEAN, scalars, axis=None), finite

    def _summed(self, batch):
        gradients, scalars = self._of_device(batch)
        finite = tf.reduce_all(tf.math.is_finite(scalars)) & tf.math.is_finite(tf.linalg.global_norm(gradients))
        replica = tf.distribute.get_replica_context()
        gradients, scalars = replica.all_reduce(tf.distribute.ReduceOp.SUM, [gradients, scalars])
        norm = tf.linalg.global_norm(gradients)
        if self.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        means = tf.math.divide_no_nan(scalars[:, 0], scalars[:, 1])
        return gradients, tf.concat([means, [norm]], 0), finite

    def _of_parts(self, batch):
        """Sums over the parts of this device's images."""
        split = {name: tf.reshape(value, [self.parts, -1, *value.shape[1:]]) for name, value in batch.items()}
        part = lambda k: self._of_part({name: value[k] for name, value in split.items()})
        if self.parts == 1:
            return part(0)
        add = lambda k, *sums: (k + 1, *tf.nest.map_structure(tf.add, sums, part(k)))
        return tf.while_loop(lambda k, *_: k < self.parts, add, (1, *part(0)), parallel_iterations=1)[1:]

    def _of_part(self, batch):
        with tf.GradientTape() as tape:
            outputs = self.model(batch, training=True)
            terms = self.losses(outputs, batch)
            total = self.losses.total(terms)
            share = total / (self.strategy.num_replicas_in_sync * self.parts)
        gradients = tape.gradient(share, self.model.trainable_variables,
                                  unconnected_gradients=tf.UnconnectedGradients.ZERO)
        # Those of embeddings come as rows, several for one class: only their sum has the right norm.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        scalars = {f"loss/{name}": (value, 1.0) for name, value in {**terms, "total": total}.items()}
        found, weights = metrics.referring_iou(outputs, batch), tf.cast(batch["query_mask"], tf.float32)
        for name in ("subject_iou", "object_iou"):
            scalars[f"metric/{name}"] = tf.reduce_sum(found[name] * weights), tf.reduce_sum(weights)
        self._names = [*scalars, "optim/gradient_norm"]
        return gradients, tf.stack([tf.stack(pair) for pair in scalars.values()])
