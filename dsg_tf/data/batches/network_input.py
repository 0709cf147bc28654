"""From an encoded image to the network's input: the same for training, evaluation and serving."""

from __future__ import annotations

import dataclasses

import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Resize:
    """How an image becomes the network's input.

    It is scaled so that its shorter side becomes `short_side`, less where its longer side would exceed `long_side` or
    where it would not fit into `image_size`; or, if its aspect ratio need not be kept, to `image_size`.

    Attributes:
      image_size: (height, width) of the network input.
      short_side, long_side: aims of the resize, in pixels.
      keep_aspect: whether the aspect ratio is kept.
    """

    image_size: tuple[int, int]
    short_side: int
    long_side: int
    keep_aspect: bool = True

    def __post_init__(self):
        for name in ("short_side", "long_side"):
            if getattr(self, name) < 1:
                raise ValueError(f"Resize.{name} must be at least 1, got {getattr(self, name)}")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"Resize.image_size must be (height, width), got {self.image_size}")


def network_image(encoded, how: Resize):
    """All steps below for an image that comes alone: a user's photo, a request to the server.

    Args:
      encoded: string `[]`, the bytes of a JPEG, PNG or WebP file.

    Returns:
      `image` uint8 `[H, W, 3]`; `image_size` and `original_size` float32 `[2]`, (height, width) of the part of `image`
      that is not padding and of the image in the file.
    """
    image = decode(encoded)
    network, image_size = pad(resize(image, how), how)
    return network, image_size, size_of(image)


def decode(encoded):
    """The bytes of a JPEG, PNG or WebP file to uint8 `[h, w, 3]`, RGB; what is transparent keeps its colour.

    Raises:
      tf.errors.InvalidArgumentError: the file is damaged, or an animated WebP.
    """

    def default():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    if not hasattr(tf.io, "decode_webp"):  # Before TensorFlow 2.20.
        return tf.ensure_shape(default(), [None, None, 3])
    # `decode_image` refuses a WebP file with an alpha channel where it is asked for three.
    image = tf.cond(is_webp(encoded), lambda: _webp(encoded), default)
    return tf.ensure_shape(image, [None, None, 3])


def is_webp(encoded):
    """bool `[]`: whether a file, string `[]`, says that it is a WebP."""
    start = _start(encoded)
    return (tf.strings.substr(start, 0, 4) == b"RIFF") & (tf.strings.substr(start, 8, 4) == b"WEBP")


def is_animated_webp(encoded):
    """bool `[]`: whether a file, string `[]`, says that it is a WebP of several frames (RFC 9649, section 2.7)."""
    start = _start(encoded)
    flags = tf.io.decode_raw(start, tf.uint8)[20]
    extended = tf.strings.substr(start, 12, 4) == b"VP8X"
    return is_webp(encoded) & extended & (tf.bitwise.bitwise_and(flags, 2) > 0)


def _start(encoded):
    """The first bytes of a file, filled up: it may have none."""
    return tf.strings.join([tf.strings.substr(encoded, 0, 21), bytes(21)])


def _webp(encoded):
    # TensorFlow decodes all frames of some animations, which may be more than memory holds, and none of the others.
    check = tf.debugging.Assert(~is_animated_webp(encoded), ["it is an animated WebP, not a picture"])
    with tf.control_dependencies([check]):
        return tf.io.decode_webp(encoded)[0, ..., :3]


def size_of(image):
    """float32 `[2]`, (height, width)."""
    return tf.cast(tf.shape(image)[:2], tf.float32)


def resize(image, how: Resize, shrink=None):
    """Scales an image as `how` says; an aspect ratio that is kept is kept to the nearest pixel.

    Args:
      image: uint8 `[h, w, 3]`.
      shrink: float32 `[]`, at most 1, a factor of the size that it would have; None: 1.

    Returns:
      float32 `[h', w', 3]` in 0..1 with h' <= H and w' <= W.
    """
    image_size = size_of(image)
    new_size = network_size(image_size, how)
    if shrink is not None:
        new_size = tf.maximum(tf.round(shrink * tf.cast(new_size, tf.float32)), 1.0)
    new_size = tf.cast(new_size, tf.int32)
    return tf.cond(
        tf.reduce_all(new_size == tf.cast(image_size, tf.int32)),
        lambda: tf.image.convert_image_dtype(image, tf.float32),
        lambda: _scaled(image, new_size),
    )


def _scaled(image, new_size):
    """What `tf.image.resize(antialias=True)` does, without its copy of the image in float32, of four times the size."""
    scale = tf.cast(new_size, tf.float32) / size_of(image)
    levels = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=new_size,
        scale=scale,
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )
    return levels[0] * (1 / 255)


def network_size(size, how: Resize):
    """Whole numbers `[2]`, (height, width) of an image of `size`, float32 `[2]`, in the network's input."""
    if not how.keep_aspect:
        return tf.constant(how.image_size, tf.int32)
    limits = tf.constant(how.image_size, tf.float32)
    scale = tf.minimum(how.short_side / tf.reduce_min(size), how.long_side / tf.reduce_max(size))
    scale = tf.minimum(scale, tf.reduce_min(limits / size))
    return tf.clip_by_value(tf.round(size * scale), 1.0, limits)


def pad(image, how: Resize):
    """A resized image, float32 `[h, w, 3]` in 0..1, as network input.

    Returns:
      uint8 `[H, W, 3]`, zero at the bottom and the right; float32 `[2]`, (height, width) of the part that is image.
    """
    pixels = tf.cast(tf.round(tf.clip_by_value(image, 0.0, 1.0) * 255.0), tf.uint8)
    return tf.image.pad_to_bounding_box(pixels, 0, 0, *how.image_size), size_of(image)
