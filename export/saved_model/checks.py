"""Assertions inside the graph about the inputs of a signature, with sentences that name the image."""

from __future__ import annotations

import tensorflow as tf


def some_images(images):
    """That the batch is not empty: TF Serving's batching does not take an empty one either."""
    return tf.debugging.Assert(tf.shape(images)[0] > 0, ["the batch is empty: send one image at least"])


def same_batch(images, queries):
    """That each image has queries: both count along axis 0."""
    sizes = [tf.shape(images)[0], tf.shape(queries)[0]]
    message = tf.strings.format("there are {} images and queries for {}", sizes)
    return tf.debugging.Assert(sizes[0] == sizes[1], [message])


def network_images(image, image_size, limits: tuple[int, int]):
    """That preprocessed images are of numbers, and that their sizes lie within the network's input.

    Args:
      image: float32 `[B, H, W, 3]`.
      image_size: float32 `[B, 2]`.
      limits: (H, W).
    """
    sizes = [tf.shape(image)[0], tf.shape(image_size)[0]]
    same = tf.debugging.Assert(
        sizes[0] == sizes[1], [tf.strings.format("there are {} images and image_size for {}", sizes)]
    )
    finite = tf.reduce_all(tf.math.is_finite(image), axis=[1, 2, 3])
    # Also false for NaN.
    fits = tf.reduce_all((image_size > 0) & (image_size <= tf.constant(limits, tf.float32)), axis=-1)
    wrong = _first_false(fits)
    size = tf.pad(image_size, [[0, 1], [0, 0]])[wrong]
    message = "image_size of image {} of the batch is {}, not within (0, 0) to {} (height, width)"
    return [
        same,
        tf.debugging.Assert(
            tf.reduce_all(finite),
            [tf.strings.format("image {} of the batch has values that are not finite", _first_false(finite))],
        ),
        tf.debugging.Assert(
            tf.reduce_all(fits), [tf.strings.format(message, [wrong, size, tf.constant(limits, tf.int32)])]
        ),
    ]


def _first_false(values):
    """The index of the first False; the number of values where there is none."""
    return tf.argmin(tf.cast(tf.concat([values, [False]], axis=0), tf.int32), output_type=tf.int32)
