"""Queries in words to class ids inside the graph, with errors that name the word."""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary, plain

_SHOWN = 60  # Characters of a word in an error: gRPC sends no more than a few kilobytes of them.


class Words(tf.Module):
    """The vocabulary as lookup tables; upper case and extra blanks do not matter, as in `Query.ids`."""

    def __init__(self, vocabulary: Vocabulary):
        super().__init__()
        entities, relations = vocabulary.entities, vocabulary.relations
        self.entities, self.relations = tf.constant(entities), tf.constant(relations)
        tables = {"subject": _table(entities), "relation": _table(relations)}
        self.tables = {**tables, "object": tables["subject"]}

    def ids(self, subject, relation, object_):
        """Class ids of queries.

        Args:
          subject, relation, object_: string `[B, Q]`; three empty strings are padding.

        Returns:
          int32 `[B, Q, 3]`, zero where padded, and bool `[B, Q]`: which are queries.

        Raises:
          tf.errors.InvalidArgumentError: shapes differ, a word is unknown, or a query is empty in part; names them.
        """
        words = dict(zip(QUERY_PARTS, (subject, relation, object_)))
        shapes = [tf.shape(w) for w in words.values()]
        same = tf.reduce_all(shapes[0] == shapes[1]) & tf.reduce_all(shapes[0] == shapes[2])
        with tf.control_dependencies(
            [
                tf.debugging.Assert(
                    same,
                    [tf.strings.format("subject, relation and object must have one shape, not {}, {} and {}", shapes)],
                )
            ]
        ):
            words = {role: _clean(word) for role, word in words.items()}
        empty = tf.stack([word == "" for word in words.values()], axis=-1)
        is_query = ~tf.reduce_all(empty, axis=-1)
        found = tf.stack([self.tables[role].lookup(word) for role, word in words.items()], axis=-1)
        checks = [_check(is_query & (found[..., k] < 0), words[role], role) for k, role in enumerate(QUERY_PARTS)]
        with tf.control_dependencies(checks):
            return tf.where(is_query[..., tf.newaxis], found, 0), tf.identity(is_query)


def _clean(words):
    return tf.strings.strip(tf.strings.regex_replace(tf.strings.lower(words, encoding="utf-8"), r"\s+", " "))


def _table(names):
    ids = {plain(name): number for number, name in enumerate(names)}
    return tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(list(ids), list(ids.values()), tf.string, tf.int32), default_value=-1
    )


def _check(wrong, words, role):
    """An assertion that no word is `wrong`; names the first one and where it is."""
    first = tf.concat([tf.where(wrong), tf.zeros([1, 2], tf.int64)], axis=0)[0]
    word = tf.gather_nd(tf.pad(words, [[0, 1], [0, 1]], constant_values=""), first)  # There may be no queries at all.
    long = tf.strings.length(word, unit="UTF8_CHAR") > _SHOWN
    shown = tf.strings.join([tf.strings.substr(word, 0, _SHOWN, unit="UTF8_CHAR"), tf.where(long, "...", "")])
    image, query = tf.unstack(tf.strings.as_string(first))
    place = tf.strings.join(["query ", query, " of image ", image])
    text = tf.where(
        word == "", tf.strings.join([place, " has no ", role]), tf.strings.join([place, f": unknown {role}: ", shown])
    )
    return tf.debugging.Assert(~tf.reduce_any(wrong), [text])
