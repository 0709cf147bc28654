"""Asks a box whether it has the partner that a query names: a product where the paper's classifier has a sum."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.roles import NUM_LABELS
from dsg_tf.keras import keras


class PartnerKeys(keras.layers.Layer):
    """Logits that are linear in products of a box's node and of a key made of the query's relation and partner.

    Whether box i is the subject depends on whether a box of the object's class stands in the relation to it: on one
    of E x R facts about i, which relation and object name together. A layer on a sum of embeddings needs a hidden
    unit for each of them; the products of embeddings are as many keys without. The same for objects.
    """

    def __init__(self, num_entities: int, num_relations: int, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units, self.keys, self.kernels = units, {}, {}
        for role in ("subject", "object"):
            self.keys[role] = (
                keras.layers.Dense(units, name=f"{role}_node"),
                keras.layers.Embedding(num_relations, units, _normal(), name=f"{role}_relation"),
                keras.layers.Embedding(num_entities, units, _normal(), name=f"{role}_partner"),
            )
            self.kernels[role] = self.add_weight(f"{role}_kernel", [NUM_LABELS, units], initializer="glorot_uniform")

    def call(self, nodes, queries):
        """Nodes `[B, N, .]` and queries int32 `[B, Q, 3]`, class triplets, to logits `[B, Q, N, 4]`."""
        subject, relation, object_ = tf.unstack(queries, axis=-1)
        logits = []
        for role, partner in (("subject", object_), ("object", subject)):
            node, of_relation, of_partner = self.keys[role]
            key = of_relation(relation) * of_partner(partner)  # [B, Q, units]
            # The product with the kernel comes first, once a query: then boxes and queries meet in one matrix product.
            key = key[:, :, tf.newaxis] * tf.cast(self.kernels[role], self.compute_dtype)
            key = tf.reshape(key, [-1, tf.shape(queries)[1] * NUM_LABELS, self.units])
            logits.append(tf.matmul(node(nodes), key, transpose_b=True))  # [B, N, Q * 4]
        shape = [-1, tf.shape(nodes)[1], tf.shape(queries)[1], NUM_LABELS]
        return tf.transpose(tf.reshape(tf.add_n(logits), shape), [0, 2, 1, 3])


def _normal():
    return keras.initializers.RandomNormal(stddev=1.0)
