"""A scene with some of its boxes."""

from __future__ import annotations

import tensorflow as tf


def of_scene(scene, kept):
    """Leaves boxes out, the relations that lose one, and the queries that lose all their subjects or all their objects.

    Args:
      scene: a dict with `boxes` float32 `[M, 4]`; `entities` int32 `[M]`; `relations` int32 `[T, 3]`, rows (subject
        box, relation id, object box); `queries` int32 `[Q, 3]`; `subject_of`, `object_of` bool `[Q, M]`; and more.
      kept: int32 `[K]`, numbers of boxes in rising order.

    Returns:
      The scene; its boxes are numbered anew.
    """
    count = tf.shape(scene["boxes"])[0]
    number_of = tf.tensor_scatter_nd_update(tf.fill([count], -1), kept[:, tf.newaxis], tf.range(tf.size(kept)))
    subject, relation, object_ = tf.unstack(scene["relations"], axis=1)
    subject, object_ = tf.gather(number_of, subject), tf.gather(number_of, object_)
    relations = tf.stack([subject, relation, object_], axis=1)
    relations = tf.boolean_mask(relations, tf.reduce_min(relations, axis=1) >= 0)

    subject_of = tf.gather(scene["subject_of"], kept, axis=1)
    object_of = tf.gather(scene["object_of"], kept, axis=1)
    whole = tf.reduce_any(subject_of, axis=1) & tf.reduce_any(object_of, axis=1)
    return scene | {
        "boxes": tf.gather(scene["boxes"], kept),
        "entities": tf.gather(scene["entities"], kept),
        "relations": relations,
        "queries": tf.boolean_mask(scene["queries"], whole),
        "subject_of": tf.boolean_mask(subject_of, whole),
        "object_of": tf.boolean_mask(object_of, whole),
    }
