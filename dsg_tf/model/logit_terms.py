"""What adds to the logits of the referring-relationships classifier, beyond the paper: labels and pairs."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dsg_tf.data.roles import OBJECT, SUBJECT
from dsg_tf.keras import keras

# Log probability from which on it does not matter how improbable a partner is: an image may have one box only.
NO_PARTNER = -10.0
# A relation's scores are lowered by their largest before the exponential, but not so far that the floor becomes 0.
MAX_SHIFT, MAX_EXPONENT = 60.0, 80.0


class LabelTerm(keras.layers.Layer):
    """Lets a box count as subject or object by its class.

    Beyond the paper, whose classifier has to learn for each class anew that a box of it is meant where the query names
    it; from few images it learns by heart which box was. Here a box counts by the label head's logit of the class, and
    one weight a role says how much.
    """

    def build(self, _):
        self.weight = self.add_weight("weight", [2], initializer="ones")

    def call(self, role_logits, entity_logits, queries):
        """Adds to logits float32 `[B, Q, N, 4]` of queries int32 `[B, Q, 3]` what `[B, N, E]` says of their classes."""
        by_class = tf.transpose(entity_logits, [0, 2, 1])
        subject, object_ = (
            self.weight[k] * tf.gather(by_class, queries[..., 2 * k], axis=1, batch_dims=1) for k in range(2)
        )
        zeros = tf.zeros_like(subject)
        return role_logits + tf.stack([zeros, subject, object_, zeros], axis=-1)


class PairTerm(keras.layers.Layer):
    """Lets a subject count only with an object that stands in the relation to it, and the other way round.

    Beyond the paper, whose classifier sees one box at a time: the question is about pairs, and the edges z'_ij of the
    graph know their relations (He et al. 2020, CPARR, score pairs too). Every pair gets a score, bilinear in its
    descriptor and in the query's relation; one exchange of messages then corrects the logits:

        subject_i += log (e^-10 + sum_j exp(pair_ij + log p(j is the object)))

    and the same for objects, where p is the classifier's own probability and j any other valid box. A pair's score
    depends on the query's relation only: exponentials are taken once for each relation, and the sum is a product of a
    matrix and a vector.

    Args:
      num_relations: R.
      units: of the descriptors.
      by_label: whether a pair's score is that and, times a weight, the label head's logit of the relation: what the
        loss of relations teaches about all pairs then holds for queries.
    """

    def __init__(self, num_relations: int, units: int, by_label: bool = False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # Logits stay float32.
        self.num_relations, self.by_label = num_relations, by_label
        self.relation = keras.layers.Embedding(num_relations, units, "uniform", name="relation")

    def build(self, _):
        if self.by_label:
            self.label_weight = self.add_weight("label_weight", [], initializer="ones")

    def call(self, role_logits, pairs, relations, valid, relation_logits=None):
        """Corrects logits.

        Args:
          role_logits: float32 `[B, Q, N, 4]`.
          pairs: `[B, N, N, units]`, descriptors; axis 1 is the subject, axis 2 the object.
          relations: int32 `[B, Q]`; valid: bool `[B, N]`.
          relation_logits: float32 `[B, N, N, R]` of the label head, `by_label`.

        Returns:
          float32 `[B, Q, N, 4]`.
        """
        others = valid[:, :, tf.newaxis] & valid[:, tf.newaxis] & ~tf.eye(valid.shape[1], dtype=tf.bool)
        scores, shift = self._shifted_scores(pairs, others[:, tf.newaxis], relation_logits)
        exponentials = tf.gather(tf.exp(scores), relations, axis=1, batch_dims=1)  # [B, Q, N, N]
        shift = tf.gather(shift, relations, axis=1, batch_dims=1)[..., tf.newaxis]
        floor = tf.exp(NO_PARTNER - shift)  # One improbable partner, however many boxes there are.
        p = tf.nn.softmax(role_logits)
        for_subject = shift + tf.math.log(tf.linalg.matvec(exponentials, p[..., OBJECT]) + floor)
        for_object = shift + tf.math.log(tf.linalg.matvec(exponentials, p[..., SUBJECT], transpose_a=True) + floor)
        zeros = tf.zeros_like(for_subject)
        return role_logits + tf.stack([zeros, for_subject, for_object, zeros], axis=-1)

    def _shifted_scores(self, pairs, others, relation_logits):
        """Scores `[B, R, N, N]` less the largest of each relation `[B, R]`; far below where there is no pair."""
        count, units = pairs.shape[2:]
        rows = tf.reshape(tf.cast(pairs, self.compute_dtype), [-1, count * count, units])
        table = tf.cast(self.relation(tf.range(self.num_relations)), self.compute_dtype)
        scores = tf.cast(tf.matmul(table, rows, transpose_b=True), tf.float32)
        scores = tf.reshape(scores, [-1, self.num_relations, count, count])
        if self.by_label:
            scores += self.label_weight * tf.transpose(relation_logits, [0, 3, 1, 2])
        largest = tf.reduce_max(tf.where(others, scores, NO_PARTNER), axis=(2, 3))
        shift = tf.stop_gradient(tf.minimum(largest, MAX_SHIFT))
        scores = tf.minimum(scores - shift[..., tf.newaxis, tf.newaxis], MAX_EXPONENT)
        return tf.where(others, scores, -np.inf), shift
