"""The three heads on the graph: referring-relationships classifier, box refiner, label heads.

The paper, section 3.2 (A), (B), (C); the supplement, section 1.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import LABEL_OF, NUM_LABELS
from dsg_tf.keras import keras
from dsg_tf.model.logit_terms import LabelTerm, PairTerm
from dsg_tf.model.neighbor_term import NeighborTerm
from dsg_tf.model.partner_keys import PartnerKeys


def answers(role_logits, valid) -> dict[str, tf.Tensor]:
    """The answer sets (the paper, section 5.2): boxes classified as a role, else the most probable one.

    Args:
      role_logits: float32 `[B, Q, N, 4]`; valid: bool `[B, N]`.

    Returns:
      `role_probabilities` float32 `[B, Q, N, 4]`, 0 where not valid; `subject_mask`, `object_mask` bool `[B, Q, N]`,
      empty only where no box is valid; `subject_scores`, `object_scores` float32 `[B, Q, N]`: probabilities of the
      role; and that of an `answer_probability`.
    """
    valid = valid[:, tf.newaxis]
    probabilities = tf.where(valid[..., tf.newaxis], tf.nn.softmax(role_logits), 0.0)
    result = {"role_probabilities": probabilities}
    for role, label in LABEL_OF.items():
        scores = probabilities[..., label]
        chosen = _is_largest(role_logits, label) & valid
        best = tf.argmax(tf.where(valid, scores, -1.0), axis=-1, output_type=tf.int32)
        best = (tf.expand_dims(best, -1) == tf.range(scores.shape[-1])) & valid
        result[f"{role}_mask"] = tf.where(tf.reduce_any(chosen, axis=-1, keepdims=True), chosen, best)
        result[f"{role}_scores"] = scores
    return result | {"answer_probability": answer_probability(result["subject_scores"], result["object_scores"])}


def answer_probability(subject_scores, object_scores):
    """The probability that there is an answer, from that of the most probable subject and of the most probable object.

    With s and o for these, their odds are multiplied, as of two independent signs of what is as likely as not:

        p / (1 - p) = s / (1 - s) * o / (1 - o),  so  p = s o / (s o + (1 - s) (1 - o))

    It is 0 where one is. On queries that hold and as many that do not it orders better, and is nearer to the share that
    holds, than the product of the two, the smaller one, or sums over all boxes in their place.

    Args:
      subject_scores, object_scores: float32 `[..., N]` in [0, 1], 0 where a box is not valid.

    Returns:
      float32 `[...]`.
    """
    # A probability may be above 1 by rounding.
    s, o = (tf.minimum(tf.reduce_max(scores, axis=-1), 1.0) for scores in (subject_scores, object_scores))
    return tf.math.divide_no_nan(s * o, s * o + (1.0 - s) * (1.0 - o))


def _is_largest(logits, label: int):
    """Whether `tf.argmax` over the last axis is `label`; without it, which is slow over so few numbers."""
    values = tf.unstack(logits, axis=-1)
    earlier = [values[label] > value for value in values[:label]]
    later = [values[label] >= value for value in values[label + 1 :]]
    return functools.reduce(tf.logical_and, earlier + later)


class ReferringClassifier(keras.layers.Layer):
    """`F_RRC([z'_i ; query])`: two hidden layers, then logits of Background, Subject, Object, Other.

    The query's three one-hot vectors enter the first layer as rows of tables (the same thing), and the first layer is
    a sum: computed once per box and once per query, never on their concatenation.

    Args:
      num_entities, num_relations: E, R.
      hidden_units: of both hidden layers.
      pair_units: size of the pair descriptors of a `PairTerm`; 0: none, as in the paper.
      gated: whether `PartnerKeys` add to the logits; the paper's have none.
      label_term: whether the query's classes enter by a `LabelTerm` alone, and have neither tables nor keys; the
        paper's have tables.
      neighbor_units: gates of a `NeighborTerm`; 0: none, as in the paper.
    """

    def __init__(
        self,
        num_entities: int,
        num_relations: int,
        hidden_units: int,
        pair_units: int = 0,
        gated: bool = False,
        label_term: bool = False,
        neighbor_units: int = 0,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # Boxes and logits stay float32; its layers cast.
        self.label_term = LabelTerm(name="label_term") if label_term else None
        self.partner_keys = None
        if gated and not label_term:
            self.partner_keys = PartnerKeys(num_entities, num_relations, hidden_units, name="partner_keys")
        self.pair_term = None
        if pair_units:
            self.pair_term = PairTerm(num_relations, pair_units, by_label=label_term, name="pair_term")
        self.node = keras.layers.Dense(hidden_units, name="node")
        if not label_term:
            self.subject = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="subject")
        # In this order, by which checkpoints of version 0.2 and before know the averages of the weights.
        self.relation = keras.layers.Embedding(num_relations, hidden_units, "uniform", name="relation")
        if not label_term:
            self.object = keras.layers.Embedding(num_entities, hidden_units, "uniform", name="object")
        self.hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden")
        self.logits = keras.layers.Dense(NUM_LABELS, name="logits")
        self.neighbor_term = None
        if neighbor_units:
            self.neighbor_term = NeighborTerm(num_relations, neighbor_units, name="neighbor_term")

    def call(self, encoded, queries, skip_invalid: bool = False):
        """Answers queries.

        Args:
          encoded: `nodes` `[B, N, .]` and `valid` bool `[B, N]`; for a pair term `pairs` `[B, N, N, .]`; for a label
            term `entity_logits` float32 `[B, N, E]`, with a pair term also `relation_logits` `[B, N, N, R]`; for a
            neighbor term `entity_logits` and `boxes` float32 `[B, N, 4]`.
          queries: int32 `[B, Q, 3]`, class triplets.
          skip_invalid: whether to compute only as many boxes as the fullest image of the batch has, which XLA, with its
            fixed shapes, cannot. Where a box is not valid, its logits have no meaning, either way.

        Returns:
          `role_logits` float32 `[B, Q, N, 4]`, and everything `answers` returns.
        """
        nodes, valid = encoded["nodes"], encoded["valid"]
        logits = self._valid_logits(nodes, queries, valid) if skip_invalid else self._logits(nodes, queries)
        if self.label_term is not None:
            logits = self.label_term(logits, encoded["entity_logits"], queries)
        if self.neighbor_term is not None:
            logits = self.neighbor_term(logits, encoded["boxes"], valid, encoded["entity_logits"], queries)
        if self.pair_term is not None:
            labels = encoded["relation_logits"] if self.pair_term.by_label else None
            logits = self.pair_term(logits, encoded["pairs"], queries[..., 1], valid, labels)
        return {"role_logits": logits, **answers(logits, valid)}

    def _valid_logits(self, nodes, queries, valid):
        """`_logits`; zeros take the place of boxes that no image of the batch needs."""
        order = tf.argsort(tf.cast(valid, tf.int32), axis=1, direction="DESCENDING", stable=True)
        count = tf.reduce_max(tf.reduce_sum(tf.cast(valid, tf.int32), axis=1))
        logits = self._logits(tf.gather(nodes, order[:, :count], axis=1, batch_dims=1), queries)
        logits = tf.pad(logits, [[0, 0], [0, 0], [0, valid.shape[1] - count], [0, 0]])
        return tf.gather(logits, tf.argsort(order, axis=1), axis=2, batch_dims=1)

    def _logits(self, nodes, queries):
        query = self.relation(queries[..., 1])
        if self.label_term is None:
            query += self.subject(queries[..., 0]) + self.object(queries[..., 2])
        first = tf.nn.relu(self.node(nodes)[:, tf.newaxis] + query[:, :, tf.newaxis])
        # A matrix: TensorFlow makes one operation of its product, the bias and ReLU; not of a tensor of rank four.
        logits = self.logits(self.hidden(tf.reshape(first, [-1, first.shape[-1]])))
        shape = tf.concat([tf.shape(first)[:-1], [NUM_LABELS]], axis=0)
        logits = tf.reshape(logits, shape)
        if self.partner_keys is not None:
            logits += self.partner_keys(nodes, queries)
        return tf.cast(logits, tf.float32)


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
    """Entity classes of nodes and relation classes of edges (the paper, section 4.3).

    Args:
      num_entities, num_relations: E, R.
      exclusive_relations: see `relation_probabilities`.
      adds_to_known: whether the entity logits are added to others: they start as zeros.
    """

    def __init__(
        self, num_entities: int, num_relations: int, *, exclusive_relations: bool, adds_to_known: bool = False, **kwargs
    ):
        super().__init__(**kwargs)
        self.exclusive_relations = exclusive_relations
        start = "zeros" if adds_to_known else "glorot_uniform"
        self.entity = keras.layers.Dense(num_entities, kernel_initializer=start, name="entity")
        self.relation = keras.layers.Dense(num_relations, name="relation")

    def call(self, nodes, edges):
        """`[B, N, .]` and `[B, N, N, .]` to logits `[B, N, E]` (softmax) and `[B, N, N, R]`."""
        return tf.cast(self.entity(nodes), tf.float32), tf.cast(self.relation(edges), tf.float32)


def relation_probabilities(logits, exclusive: bool):
    """Of each relation `[..., R]`: that it is the one that holds, where one does (`exclusive`), or that it holds."""
    return tf.nn.softmax(logits) if exclusive else tf.sigmoid(logits)
