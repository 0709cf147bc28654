"""The three heads on the graph: referring-relationships classifier, box refiner, label heads.

The paper, section 3.2 (A), (B), (C); the supplement, section 1.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras

# Labels of the referring-relationships classifier.
BACKGROUND, SUBJECT, OBJECT, OTHER = range(4)
NUM_ROLES = 4
ROLES = {"subject": SUBJECT, "object": OBJECT}


def answers(role_logits, valid) -> dict[str, tf.Tensor]:
    """The answer sets (the paper, section 5.2): boxes classified as a role, else the most probable one.

    Args:
      role_logits: float32 ``[B, Q, N, 4]``; valid: bool ``[B, N]``.

    Returns:
      ``subject_set``, ``object_set`` bool ``[B, Q, N]``, empty only where no box is valid; ``subject_scores``,
      ``object_scores`` float32 ``[B, Q, N]``: probabilities, 0 where not valid.
    """
    valid = valid[:, tf.newaxis]
    probabilities, label_of = tf.nn.softmax(role_logits), tf.argmax(role_logits, axis=-1)
    result = {}
    for role, label in ROLES.items():
        scores = tf.where(valid, probabilities[..., label], 0.0)
        chosen = (label_of == label) & valid
        best = tf.argmax(tf.where(valid, scores, -1.0), axis=-1)
        best = tf.one_hot(best, scores.shape[-1], on_value=True, off_value=False) & valid
        result[f"{role}_set"] = tf.where(tf.reduce_any(chosen, axis=-1, keepdims=True), chosen, best)
        result[f"{role}_scores"] = scores
    return result


class ReferringClassifier(keras.layers.Layer):
    """``F_RRC([z'_i ; query])``: two hidden layers, then logits of Background, Subject, Object, Other.

    The query's three one-hot vectors enter the first layer as rows of tables (the same thing), and the first layer is
    a sum: computed once per box and once per query, never on their concatenation.
    """

    def __init__(self, num_entities: int, num_relations: int, hidden_units: int, **kwargs):
        super().__init__(**kwargs)
        self.node = keras.layers.Dense(hidden_units, name="node")
        self.subject = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="subject")
        self.relation = keras.layers.Embedding(num_relations, hidden_units, "uniform", name="relation")
        self.object = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="object")
        self.hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")
        self.logits = keras.layers.Dense(NUM_ROLES, name="logits")

    def call(self, encoded, queries):
        """Answers queries.

        Args:
          encoded: ``nodes`` ``[B, N, .]`` and ``valid`` bool ``[B, N]``.
          queries: int32 ``[B, Q, 3]``, class triplets.

        Returns:
          ``role_logits`` float32 ``[B, Q, N, 4]``, and everything `answers` returns.
        """
        logits = self._logits(encoded["nodes"], queries)
        return {"role_logits": logits, **answers(logits, encoded["valid"])}

    def _logits(self, nodes, queries):
        query = self.subject(queries[..., 0]) + self.relation(queries[..., 1]) + self.object(queries[..., 2])
        first = tf.nn.relu(self.node(nodes)[:, tf.newaxis] + query[:, :, tf.newaxis])
        return tf.cast(self.logits(self.hidden(first)), tf.float32)


class BoxRefiner(keras.layers.Layer):
    """A linear function of the node that moves its proposal; starts as the identity."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.deltas = keras.layers.Dense(4, kernel_initializer="zeros", name="deltas")

    def call(self, nodes, proposals):
        """Nodes ``[B, N, .]`` and proposals ``[B, N, 4]`` to float32 deltas and refined boxes, both ``[B, N, 4]``."""
        deltas = tf.cast(self.deltas(nodes), tf.float32)
        return deltas, box_lib.decode(deltas, proposals)


class LabelHeads(keras.layers.Layer):
    """Entity classes of nodes and relation classes of edges (the paper, section 4.3)."""

    def __init__(self, num_entities: int, num_relations: int, **kwargs):
        super().__init__(**kwargs)
        self.entity = keras.layers.Dense(num_entities, name="entity")
        self.relation = keras.layers.Dense(num_relations, name="relation")

    def call(self, nodes, edges):
        """``[B, N, .]`` and ``[B, N, N, .]`` to logits ``[B, N, E]`` (softmax) and ``[B, N, N, R]`` (sigmoids)."""
        return tf.cast(self.entity(nodes), tf.float32), tf.cast(self.relation(edges), tf.float32)
