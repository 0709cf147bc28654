"""Queries whose answer is that there is none: what tells a network that the relation of a query matters.

Of the queries that hold, few need their relation: most classes stand in an image once. A network then learns to answer
with all boxes of the class, and sees no reason to learn more. Asked for the same classes with a relation that does not
hold, it does.
"""

from __future__ import annotations

import tensorflow as tf

ABSENT_SHARE = 0.25  # Of the contrastive queries, those that name a class that is not in the image.


def draw(queries, entities, count, key, *, num_entities: int, num_relations: int):
    """Random queries that do not hold.

    Args:
      queries: int32 `[Q, 3]`, all those that hold.
      entities: int32 `[M]`, the classes of all boxes.
      count: int32 scalar, how many are wanted.
      key: int32 `[2]`, the stateless random key.

    Returns:
      int32 `[K, 3]`, K at most `count`: class pairs of `queries` with another relation, each at most once, and behind
      them triplets of `queries` with one class exchanged for an absent one; of each as many as there are.
    """
    keys = tf.unstack(tf.random.experimental.stateless_split(key, num=2))
    num_absent = tf.cast(tf.round(ABSENT_SHARE * tf.cast(count, tf.float32)), tf.int32)
    other = _other_relations(queries, num_entities, num_relations)
    lots = tf.random.stateless_uniform([tf.shape(other)[0]], keys[0])
    chosen = tf.math.top_k(lots, tf.minimum(tf.size(lots), count - num_absent)).indices
    return tf.concat(
        [tf.gather(other, chosen), _absent_classes(queries, entities, num_absent, keys[1], num_entities)], 0
    )


def _other_relations(queries, num_entities: int, num_relations: int):
    """All triplets `[K, 3]` of the class pairs of `queries` that are not among them."""
    subject, relation, object_ = tf.unstack(queries, axis=1)
    pairs = subject * num_entities + object_
    held = pairs * num_relations + relation
    candidates = tf.unique(pairs).y[:, tf.newaxis] * num_relations + tf.range(num_relations)
    candidates = tf.reshape(candidates, [-1])
    candidates = tf.boolean_mask(candidates, ~tf.reduce_any(candidates[:, tf.newaxis] == held, axis=1))
    pair, relation = candidates // num_relations, candidates % num_relations
    return tf.stack([pair // num_entities, relation, pair % num_entities], axis=1)


def _absent_classes(queries, entities, count, key, num_entities: int):
    """`count` random triplets with a class that no box has, as subject or as object; none where all are there."""
    counts = tf.math.bincount(entities, minlength=num_entities, maxlength=num_entities)
    absent = tf.cast(tf.where(counts == 0)[:, 0], tf.int32)
    count = tf.where((tf.size(absent) > 0) & (tf.shape(queries)[0] > 0), count, 0)
    lots = tf.random.stateless_uniform([3, count], key)
    triplets = tf.gather(queries, _one_of(tf.shape(queries)[0], lots[0]))
    subject, relation, object_ = tf.unstack(triplets, axis=1)
    stranger, is_subject = tf.gather(absent, _one_of(tf.size(absent), lots[1])), lots[2] < 0.5
    subject, object_ = tf.where(is_subject, stranger, subject), tf.where(is_subject, object_, stranger)
    return tf.stack([subject, relation, object_], axis=1)


def _one_of(count, lots):
    """Indices below `count` from numbers in [0, 1)."""
    return tf.minimum(tf.cast(lots * tf.cast(count, tf.float32), tf.int32), count - 1)
