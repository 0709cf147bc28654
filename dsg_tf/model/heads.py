"""The three heads on the graph: referring-relationships classifier, box refiner, label heads.

The paper, section 3.2 (A), (B), (C); the supplement, section 1.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import LABEL_OF, NUM_LABELS, OBJECT, SUBJECT
from dsg_tf.keras import keras

# Log probability from which on it does not matter how improbable a partner is: an image may have one box only.
NO_PARTNER = -10.0


def answers(role_logits, valid) -> dict[str, tf.Tensor]:
    """The answer sets (the paper, section 5.2): boxes classified as a role, else the most probable one.

    Args:
      role_logits: float32 `[B, Q, N, 4]`; valid: bool `[B, N]`.

    Returns:
      `subject_mask`, `object_mask` bool `[B, Q, N]`, empty only where no box is valid; `subject_scores`,
      `object_scores` float32 `[B, Q, N]`: probabilities, 0 where not valid.
    """
    valid = valid[:, tf.newaxis]
    probabilities, label_of = tf.nn.softmax(role_logits), tf.argmax(role_logits, axis=-1)
    result = {}
    for role, label in LABEL_OF.items():
        scores = tf.where(valid, probabilities[..., label], 0.0)
        chosen = (label_of == label) & valid
        best = tf.argmax(tf.where(valid, scores, -1.0), axis=-1)
        best = tf.one_hot(best, scores.shape[-1], on_value=True, off_value=False) & valid
        result[f"{role}_mask"] = tf.where(tf.reduce_any(chosen, axis=-1, keepdims=True), chosen, best)
        result[f"{role}_scores"] = scores
    return result


class ReferringClassifier(keras.layers.Layer):
    """`F_RRC([z'_i ; query])`: two hidden layers, then logits of Background, Subject, Object, Other.

    The query's three one-hot vectors enter the first layer as rows of tables (the same thing), and the first layer is
    a sum: computed once per box and once per query, never on their concatenation.

    Args:
      num_entities, num_relations: E, R.
      hidden_units: of both hidden layers.
      pair_units: size of the pair descriptors of a `PairTerm`; 0: none, as in the paper.
    """

    def __init__(self, num_entities: int, num_relations: int, hidden_units: int, pair_units: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.pair_term = PairTerm(num_relations, pair_units, name="pair_term") if pair_units else None
        self.node = keras.layers.Dense(hidden_units, name="node")
        self.subject = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="subject")
        self.relation = keras.layers.Embedding(num_relations, hidden_units, "uniform", name="relation")
        self.object = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="object")
        self.hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")
        self.logits = keras.layers.Dense(NUM_LABELS, name="logits")

    def call(self, encoded, queries):
        """Answers queries.

        Args:
          encoded: `nodes` `[B, N, .]` and `valid` bool `[B, N]`; for a pair term `pairs` `[B, N, N, .]`.
          queries: int32 `[B, Q, 3]`, class triplets.

        Returns:
          `role_logits` float32 `[B, Q, N, 4]`, and everything `answers` returns.
        """
        logits = self._logits(encoded["nodes"], queries)
        if self.pair_term is not None:
            logits = self.pair_term(logits, encoded["pairs"], queries[..., 1], encoded["valid"])
        return {"role_logits": logits, **answers(logits, encoded["valid"])}

    def _logits(self, nodes, queries):
        query = self.subject(queries[..., 0]) + self.relation(queries[..., 1]) + self.object(queries[..., 2])
        first = tf.nn.relu(self.node(nodes)[:, tf.newaxis] + query[:, :, tf.newaxis])
        return tf.cast(self.logits(self.hidden(first)), tf.float32)


class PairTerm(keras.layers.Layer):
    """Lets a subject count only with an object that stands in the relation to it, and the other way round.

    Beyond the paper, whose classifier sees one box at a time: the question is about pairs, and the edges z'_ij of the
    graph know their relations (He et al. 2020, CPARR, score pairs too). Every pair gets a score, bilinear in its
    descriptor and in the query's relation; one exchange of messages then corrects the logits:

        subject_i += log sum_j exp(pair_ij + log p(j is the object))

    and the same for objects, where p is the classifier's own probability.
    """

    def __init__(self, num_relations: int, units: int, **kwargs):
        super().__init__(autocast=False, **kwargs)  # Logits stay float32.
        self.relation = keras.layers.Embedding(num_relations, units, "uniform", name="relation")

    def call(self, role_logits, pairs, relations, valid):
        """Corrects logits.

        Args:
          role_logits: float32 `[B, Q, N, 4]`.
          pairs: `[B, N, N, units]`, descriptors; axis 1 is the subject, axis 2 the object.
          relations: int32 `[B, Q]`; valid: bool `[B, N]`.

        Returns:
          float32 `[B, Q, N, 4]`.
        """
        factors = [tf.cast(value, self.compute_dtype) for value in (pairs, self.relation(relations))]
        scores = tf.cast(tf.einsum("bijd,bqd->bqij", *factors), tf.float32)
        others = valid[:, :, tf.newaxis] & valid[:, tf.newaxis] & ~tf.eye(valid.shape[1], dtype=tf.bool)
        others = others[:, tf.newaxis]
        log_p = tf.nn.log_softmax(role_logits)
        for_subject = _log_evidence(scores + log_p[..., OBJECT][:, :, tf.newaxis], others, axis=3)
        for_object = _log_evidence(scores + log_p[..., SUBJECT][..., tf.newaxis], others, axis=2)
        zeros = tf.zeros_like(for_subject)
        return role_logits + tf.stack([zeros, for_subject, for_object, zeros], axis=-1)


def _log_evidence(logs, mask, axis):
    """`log sum exp` over `axis` where `mask`, never below `NO_PARTNER`."""
    floor = tf.fill(tf.shape(tf.reduce_sum(logs, axis)), NO_PARTNER)
    return tf.math.reduce_logsumexp(
        tf.stack([tf.reduce_logsumexp(tf.where(mask, logs, NO_PARTNER), axis), floor]), axis=0
    )


class BoxRefiner(keras.layers.Layer):
    """A linear function of the node that moves its proposal; starts as the identity."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.deltas = keras.layers.Dense(4, kernel_initializer="zeros", name="deltas")

    def call(self, nodes, proposals):
        """Nodes `[B, N, .]` and proposals `[B, N, 4]` to float32 deltas and refined boxes, both `[B, N, 4]`."""
        deltas = tf.cast(self.deltas(nodes), tf.float32)
        return deltas, box_lib.decode(deltas, proposals)


class LabelHeads(keras.layers.Layer):
    """Entity classes of nodes and relation classes of edges (the paper, section 4.3)."""

    def __init__(self, num_entities: int, num_relations: int, **kwargs):
        super().__init__(**kwargs)
        self.entity = keras.layers.Dense(num_entities, name="entity")
        self.relation = keras.layers.Dense(num_relations, name="relation")

    def call(self, nodes, edges):
        """`[B, N, .]` and `[B, N, N, .]` to logits `[B, N, E]` (softmax) and `[B, N, N, R]` (sigmoids)."""
        return tf.cast(self.entity(nodes), tf.float32), tf.cast(self.relation(edges), tf.float32)
