"""Random changes of a training example: horizontal flip and colour jitter.

Both are functions of a stateless random key: the same key always gives the same picture.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_ops


def random_flip(scene, flipped_relations, key):
    """Mirrors a scene left to right with probability one half.

    Args:
      scene: a dict with `image` uint8 `[h, w, 3]`; `boxes` float32 `[M, 4]`, `[y0, x0, y1, x1]` in pixels of `image`;
        `relations` int32 `[T, 3]`, rows (subject box, relation id, object box); `queries` int32 `[Q, 3]`, rows (subject
        class, relation id, object class); and more.
      flipped_relations: the id that each relation has in a mirror ("left" becomes "right"); empty: never flip.
      key: int `[2]`, the stateless random key.

    Returns:
      The scene, flipped or as it was.
    """
    if not flipped_relations:
        return scene
    heads = tf.random.stateless_uniform([], key) < 0.5
    return tf.cond(heads, lambda: flip(scene, flipped_relations), lambda: scene)


def flip(scene, flipped_relations):
    """Mirrors a scene; arguments and result as in `random_flip`. Twice is the identity."""
    width = tf.cast(tf.shape(scene["image"])[1], tf.float32)
    return scene | {
        "image": tf.reverse(scene["image"], axis=[1]),
        "boxes": box_ops.flip_horizontal(scene["boxes"], width),
        "relations": _flip_relation_ids(scene["relations"], flipped_relations),
        "queries": _flip_relation_ids(scene["queries"], flipped_relations),
    }


def color_jitter(image, strength, key):
    """Random brightness, contrast, saturation and hue.

    Colours are class names in CLEVR, so hue moves ten times less than the rest.

    Args:
      image: float32 `[h, w, 3]`, RGB in 0..1.
      strength: brightness moves by up to `strength`, contrast and saturation are multiplied by
        1 - strength .. 1 + strength, and hue moves by up to `strength / 10` of the colour
        circle. 0 leaves the image alone.
      key: int `[2]`, the stateless random key.

    Returns:
      float32 `[h, w, 3]` in 0..1.
    """
    if strength == 0:
        return image
    keys = tf.unstack(tf.random.experimental.stateless_split(key, num=4))
    low, high = 1.0 - strength, 1.0 + strength
    image = tf.image.stateless_random_brightness(image, strength, keys[0])
    image = tf.image.stateless_random_contrast(image, low, high, keys[1])
    # Saturation and hue go by way of HSV, which needs colours that exist.
    image = tf.clip_by_value(image, 0.0, 1.0)
    image = tf.image.stateless_random_saturation(image, low, high, keys[2])
    return tf.image.stateless_random_hue(image, strength / 10, keys[3])


def _flip_relation_ids(triplets, flipped_relations):
    """`triplets`: int32 `[K, 3]` with the relation id in the middle."""
    first, relation, second = tf.unstack(triplets, axis=1)
    relation = tf.gather(tf.constant(flipped_relations, tf.int32), relation)
    return tf.stack([first, relation, second], axis=1)
