"""Scale jitter: parts of training images, and smaller images, in which every relation that is left is true.

A crop that cuts a box moves its centre and its edges, and with them what lies left of it or inside it. So a window that
would cut a box grows until it holds that box: a box is all in it or all outside.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.batches import some_boxes


def random_crop(scene, jitter: float, key):
    """With probability one half, a part of a scene.

    Args:
      scene: as of `some_boxes.of_scene`, with `image` uint8 `[h, w, 3]` and `original_size` float32 `[2]`.
      jitter: the window's sides are drawn from 1 - jitter to 1 of the image's, before it grows; 0: the scene as it is.
      key: int `[2]`, the stateless random key.

    Returns:
      The scene; whole, where the part would have no relation. Twice the same key gives the same part.
    """
    if not jitter:
        return scene
    coin, sides, places = (
        tf.random.stateless_uniform([2], part) for part in tf.unstack(tf.random.experimental.stateless_split(key, 3))
    )
    return tf.cond(coin[0] < 0.5, lambda: _part(scene, 1.0 - jitter * sides, places), lambda: scene)


def _part(scene, sides, places):
    """The part in a window with these shares of the image's sides, at shares of the places it can be; see above."""
    size = scene["original_size"]
    sides = size * sides
    low = tf.floor((size - sides) * places)
    window = tf.concat([low, tf.minimum(tf.math.ceil(low + sides), size)], axis=0)
    window = uncut(window, scene["boxes"], size)
    inside = tf.reduce_all((scene["boxes"] >= _twice(window[:2])) & (scene["boxes"] <= _twice(window[2:])), axis=1)
    part = some_boxes.of_scene(scene, tf.cast(tf.where(inside)[:, 0], tf.int32))
    is_asked_about = (tf.size(part["relations"]) > 0) & (tf.size(part["queries"]) > 0)
    return tf.cond(is_asked_about, lambda: _cut_out(part, window), lambda: scene)


def uncut(window, boxes, size):
    """The smallest window of whole pixels that holds a window and every box that it touches.

    Args:
      window: float32 `[4]`, whole numbers; boxes: float32 `[M, 4]`; both `[y0, x0, y1, x1]`, pixels, in an image of
        `size` float32 `[2]`.
    """

    def grown(window):
        touches = tf.reduce_all((boxes[:, :2] < window[2:]) & (boxes[:, 2:] > window[:2]), axis=1)
        touched = tf.boolean_mask(boxes, touches)
        low = tf.floor(tf.reduce_min(tf.concat([window[tf.newaxis, :2], touched[:, :2]], axis=0), axis=0))
        high = tf.math.ceil(tf.reduce_max(tf.concat([window[tf.newaxis, 2:], touched[:, 2:]], axis=0), axis=0))
        return tf.concat([tf.maximum(low, 0.0), tf.minimum(high, size)], axis=0)

    def grows(before, now):
        return tf.reduce_any(before != now)

    return tf.while_loop(grows, lambda _, now: (now, grown(now)), (window, grown(window)))[1]


def random_shrink(jitter: float, key):
    """A factor float32 `[]` of an image's size: 1, or with probability one half drawn from 1 - jitter to 1."""
    if not jitter:
        return None
    coin, share = tf.unstack(tf.random.stateless_uniform([2], key))
    return tf.where(coin < 0.5, 1.0, 1.0 - jitter * share)


def _cut_out(scene, window):
    y0, x0, y1, x1 = tf.unstack(tf.cast(window, tf.int32))
    return scene | {
        "image": tf.ensure_shape(scene["image"][y0:y1, x0:x1], [None, None, 3]),
        "original_size": window[2:] - window[:2],
        "boxes": scene["boxes"] - _twice(window[:2]),
    }


def _twice(yx):
    return tf.concat([yx, yx], axis=0)
