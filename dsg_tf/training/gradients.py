"""The gradient of one device's images, in parts where memory is short, with the numbers to look at."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.roles import ROLES
from dsg_tf.objectives import metrics


class Gradients:
    """Loss terms, their gradient and the training metrics of a device's share of a batch.

    Losses are means over images of per-image means, so the gradient does not depend on how the batch is split. Every
    scalar travels as (total, weight): what is logged is the mean over the whole batch, of the queries for the metrics.

    Args:
      model: with trainable variables.
      losses: of `build.build_losses`.
      devices: how many share a batch.
      parts: the images are taken in so many parts, one after another.
      jit_compile: compile with XLA.
    """

    def __init__(self, model, losses, *, devices: int = 1, parts: int = 1, jit_compile: bool = False):
        self.model, self.losses, self.devices, self.parts = model, losses, devices, parts
        # Not a function of its own without XLA: batch norm over all devices cannot stand inside one.
        self._compute = (
            tf.function(self._of_parts, autograph=False, jit_compile=True) if jit_compile else self._of_parts
        )

    def __call__(self, batch: dict[str, tf.Tensor]):
        """This device's addend of the gradient, as a list like the trainable variables; and of the scalars, by name.

        A scalar is float32 `[2]`: total and weight.
        """
        return self._compute(batch)

    def _of_parts(self, batch):
        """Sums over the parts of the images."""
        if self.parts == 1:
            return self._of_part(batch)
        split = {name: tf.reshape(value, [self.parts, -1, *value.shape[1:]]) for name, value in batch.items()}

        def add_part(number, sums):
            part = self._of_part({name: value[number] for name, value in split.items()})
            return number + 1, tf.nest.map_structure(tf.add, sums, part)

        first = self._of_part({name: value[0] for name, value in split.items()})
        _, sums = tf.while_loop(lambda number, _: number < self.parts, add_part, (1, first), parallel_iterations=1)
        return sums

    def _of_part(self, batch):
        with tf.GradientTape() as tape:
            outputs = self.model(batch, training=True)
            terms = self.losses(outputs, batch)
            total = self.losses.total(terms)
            share = total / (self.devices * self.parts)
        gradients = tape.gradient(
            share, self.model.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        # Those of embeddings come as rows, several for one class: only their sum has the right norm.
        gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        scalars = {f"loss/{name}": tf.stack([value, 1.0]) for name, value in {**terms, "total": total}.items()}
        found, weights = metrics.referring_iou(outputs, batch), tf.cast(batch["query_holds"], tf.float32)
        for role in ROLES:
            total_iou = tf.reduce_sum(found[f"{role}_iou"] * weights)
            scalars[f"metric/{role}_iou"] = tf.stack([total_iou, tf.reduce_sum(weights)])
        return gradients, scalars
