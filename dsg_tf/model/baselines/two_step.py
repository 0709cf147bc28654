"""TWO STEP: a scene graph is read off the network first, then the query is matched with it.

The paper, section 6.2; the supplement, section 2.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model.heads import relation_probabilities

PRESENT = 0.5  # Probability from which a relation stands in the scene graph, where several may.


class GraphMatcher(keras.layers.Layer):
    """Answers queries from the labels of nodes and edges; has no variables and no gradient.

    A triplet is present where the most probable class of one box is the query's subject, that of another is its
    object, and the relation stands between them: with exclusive relations the most probable one does, else all with a
    probability of at least one half. The boxes of all such triplets answer. Where there is none, the pair answers whose
    labels most probably are the query's: the largest product of the three probabilities.

    Args:
      exclusive_relations: as of `LabelHeads`.
    """

    def __init__(self, *, exclusive_relations: bool, **kwargs):
        super().__init__(**kwargs)
        self.exclusive_relations = exclusive_relations

    def call(self, encoded, queries, skip_invalid: bool = False) -> dict[str, tf.Tensor]:
        """Matches.

        Args:
          encoded: `entity_logits` `[B, N, E]`, `relation_logits` `[B, N, N, R]` (axis 1 the subject) and
            `valid` bool `[B, N]`.
          queries: int32 `[B, Q, 3]`, class triplets.
          skip_invalid: as of `ReferringClassifier`; nothing here is worth it.

        Returns:
          `subject_mask`, `object_mask` bool `[B, Q, N]`, empty only where there are not two valid boxes;
          `subject_scores`, `object_scores` float32 `[B, Q, N]`: the largest product of a pair with this box;
          `answer_probability` float32 `[B, Q]`: the largest product of all.
        """
        subject, relation, object_ = tf.unstack(queries, axis=-1)
        entities = tf.nn.softmax(encoded["entity_logits"])
        labels = tf.argmax(entities, axis=-1, output_type=tf.int32)[:, tf.newaxis]  # [B, 1, N]
        of_pairs = relation_probabilities(encoded["relation_logits"], self.exclusive_relations)
        of_relation = tf.transpose(of_pairs, [0, 3, 1, 2])  # [B, R, N, N]
        relations = tf.gather(of_relation, relation, axis=1, batch_dims=1)  # [B, Q, N, N]
        least = tf.reduce_max(of_relation, axis=1, keepdims=True) if self.exclusive_relations else PRESENT
        pairs = _pairs(encoded["valid"])[:, tf.newaxis]
        is_subject = (labels == subject[..., tf.newaxis])[..., tf.newaxis]
        is_object = (labels == object_[..., tf.newaxis])[:, :, tf.newaxis]
        present = is_subject & is_object & (relations >= least) & pairs

        by_class = tf.transpose(entities, [0, 2, 1])  # [B, E, N]
        products = (
            tf.gather(by_class, subject, axis=1, batch_dims=1)[..., tf.newaxis]
            * relations
            * tf.gather(by_class, object_, axis=1, batch_dims=1)[:, :, tf.newaxis]
        )
        products = tf.where(pairs, products, 0.0)
        chosen = tf.where(tf.reduce_any(present, axis=(2, 3), keepdims=True), present, _best(products, pairs))
        return {
            "subject_mask": tf.reduce_any(chosen, axis=3),
            "object_mask": tf.reduce_any(chosen, axis=2),
            "subject_scores": tf.reduce_max(products, axis=3),
            "object_scores": tf.reduce_max(products, axis=2),
            "answer_probability": tf.reduce_max(products, axis=(2, 3)),
        }


def _pairs(valid):
    """bool `[B, N, N]`: two different valid boxes."""
    both = valid[:, :, tf.newaxis] & valid[:, tf.newaxis]
    return both & ~tf.eye(valid.shape[1], dtype=tf.bool)


def _best(products, pairs):
    """bool `[B, Q, N, N]`: the pair with the largest product."""
    count = products.shape[-1]
    flat = tf.reshape(tf.where(pairs, products, -1.0), [tf.shape(products)[0], -1, count * count])
    best = tf.expand_dims(tf.argmax(flat, axis=-1, output_type=tf.int32), -1) == tf.range(count * count)
    return tf.reshape(best, tf.shape(products)) & pairs
