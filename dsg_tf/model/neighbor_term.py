"""Lets a box count by what stands where around it, in classes that all queries share."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.roles import NUM_LABELS
from dsg_tf.keras import keras
from dsg_tf.model import relative_geometry

HIDDEN_UNITS = 64  # Of the gates, functions of six numbers.


class NeighborTerm(keras.layers.Layer):
    """Logits from the classes of the boxes around a box.

    Beyond the paper. Whether box i is the subject depends on whether a box of the object's class stands in the relation
    to it. In z'_i, and in the keys of `PartnerKeys`, that is a fact about each class by itself, and is learned for each
    from the few queries in which it decides. Here n_i has the label head's probabilities p_j of the other boxes,

        n_i[k, c] = 1 - exp(- sum_j gate_k(g_ij) p_j(c))

    with g_ij the geometry of j as seen from i, and a query takes the n_i of its partner's class: what is learned of a
    relation with one class holds for all. It is still one box at a time; a `PairTerm` asks whether the partner answers
    the query, too.

    Args:
      num_relations: R.
      units: K, gates of each role.
    """

    def __init__(self, num_relations: int, units: int, **kwargs):
        super().__init__(autocast=False, **kwargs)  # Logits stay float32.
        self.units, self.gates, self.kernels = units, {}, {}
        for role in ("subject", "object"):
            self.gates[role] = (
                keras.layers.Dense(HIDDEN_UNITS, activation="relu", name=f"{role}_hidden"),
                keras.layers.Dense(units, activation="sigmoid", name=f"{role}_gates"),
            )
            self.kernels[role] = keras.layers.Embedding(num_relations, units * NUM_LABELS, name=f"{role}_kernel")

    def call(self, role_logits, boxes, valid, entity_logits, queries):
        """Adds to logits.

        Args:
          role_logits: float32 `[B, Q, N, 4]`.
          boxes: float32 `[B, N, 4]`; not learned from here.
          valid: bool `[B, N]`.
          entity_logits: float32 `[B, N, E]`.
          queries: int32 `[B, Q, 3]`, class triplets.

        Returns:
          float32 `[B, Q, N, 4]`.
        """
        geometry = relative_geometry.of_pairs(tf.stop_gradient(boxes))
        others = tf.cast(valid[:, tf.newaxis], tf.float32) * (1.0 - tf.eye(boxes.shape[1]))
        labels = tf.nn.softmax(entity_logits)
        subject, relation, object_ = tf.unstack(queries, axis=-1)
        for role, partner in (("subject", object_), ("object", subject)):
            hidden, gates = self.gates[role]
            gate = tf.cast(gates(hidden(geometry)), tf.float32) * tf.expand_dims(others, -1)  # [B, N, N, K]
            counts = tf.einsum("bijk,bjc->bcik", gate, labels)
            # Not before the classes are chosen: LiteRT's converter makes x - 1 of 1 - x where x has been transposed.
            around = 1.0 - tf.exp(-tf.gather(counts, partner, axis=1, batch_dims=1))  # [B, Q, N, K]
            shape = tf.concat([tf.shape(relation), [self.units, NUM_LABELS]], axis=0)
            kernel = tf.cast(self.kernels[role](relation), tf.float32)
            role_logits += tf.matmul(around, tf.reshape(kernel, shape))
        return role_logits
