"""Encoded images to network input inside the graph, with errors that name the image.

An error of TensorFlow's decoders does not say which image of a batch it is about, and a header can announce more pixels
than memory holds. So the header is read first, and decoding runs where its failure can be caught: in a `tf.data` map
whose errors are ignored. All of it are kernels of TensorFlow: no Python, as TF Serving needs it.
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf.data.batches import network_input
from dsg_tf.data.batches.network_input import Resize

# A photo of today's largest cameras; it takes 250 MB for a moment, one of several in a batch up to 550 MB.
MAX_PIXELS = 40_000_000
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def network_images(encoded, resize: Resize, max_pixels: int = MAX_PIXELS):
    """JPEG, PNG or WebP files as the network takes them: what `network_input.network_image` does, for a batch.

    An EXIF orientation is not applied, as in training: coordinates are those of the stored pixels.

    Args:
      encoded: string `[B]`.
      resize: from images to the network's input.
      max_pixels: of one image.

    Returns:
      `image` uint8 `[B, H, W, 3]`; `image_size` and `original_size` float32 `[B, 2]`.

    Raises:
      tf.errors.InvalidArgumentError: not such a file, damaged, or too large; names its index.
    """

    def one(arguments):
        index, file = arguments
        image = decode(file, index, max_pixels)
        network, image_size = network_input.pad(network_input.resize(image, resize), resize)
        return network, image_size, network_input.size_of(image)

    pair = tf.TensorSpec([2], tf.float32)
    return tf.map_fn(
        one,
        (tf.range(tf.size(encoded)), encoded),
        # One after another: a decoded picture is large, and the network takes most of the time.
        parallel_iterations=1,
        fn_output_signature=(tf.TensorSpec([*resize.image_size, 3], tf.uint8), pair, pair),
    )


def decode(file, index, max_pixels: int):
    """One file, string `[]`, to uint8 `[h, w, 3]`; `index` is for the messages."""
    size = _or_else(file, header_size, tf.zeros([2], tf.int64))
    with tf.control_dependencies(
        [
            _require(
                tf.reduce_all(size > 0),
                "image {} of the batch is not a JPEG, PNG or WebP file: it has {} bytes",
                index,
                tf.strings.length(file),
            ),
            _require(
                tf.reduce_prod(tf.cast(size, tf.float64)) <= max_pixels,  # Of integers it might overflow.
                "image {} of the batch has {} (height, width) pixels, more than {} in all",
                index,
                size,
                max_pixels,
            ),
            _require(
                ~network_input.is_animated_webp(file),
                "image {} of the batch is an animated WebP: send one of its frames as a picture",
                index,
            ),
        ]
    ):
        file = tf.identity(file)
    image = _or_else(file, network_input.decode, tf.zeros([0, 0, 3], tf.uint8))
    with tf.control_dependencies([_require(tf.size(image) > 0, "image {} of the batch is damaged", index)]):
        return tf.ensure_shape(tf.identity(image), [None, None, 3])


def header_size(file):
    """(height, width) int64 `[2]` that a file's header tells; zeros where it is of no known kind."""
    start = tf.strings.substr(file, 0, 32)
    return tf.case(
        [
            (tf.strings.substr(start, 0, 3) == _JPEG, lambda: tf.image.extract_jpeg_shape(file, tf.int64)[:2]),
            (
                tf.strings.substr(start, 0, 8) == _PNG,
                lambda: tf.stack([_number(start, [23, 22, 21, 20]), _number(start, [19, 18, 17, 16])]),
            ),
            (network_input.is_webp(start), lambda: _webp_size(start)),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )


def _webp_size(start):
    """The three kinds of WebP (RFC 9649, section 2): extended, lossless, lossy."""
    kind = tf.strings.substr(start, 12, 4)
    bits = _number(start, [21, 22, 23, 24])
    lossy = [_number(start, [28, 29]) % 2**14, _number(start, [26, 27]) % 2**14]
    return tf.case(
        [
            (kind == b"VP8X", lambda: tf.stack([_number(start, [27, 28, 29]) + 1, _number(start, [24, 25, 26]) + 1])),
            (kind == b"VP8L", lambda: tf.stack([bits // 2**14 % 2**14 + 1, bits % 2**14 + 1])),
            (kind == b"VP8 ", lambda: tf.stack(lossy)),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )


def _number(start, positions):
    """The bytes at `positions`, least significant first, as one number."""
    values = tf.cast(tf.gather(tf.io.decode_raw(start, tf.uint8), positions), tf.int64)
    return tf.reduce_sum(values * [256**k for k in range(len(positions))])


def _or_else(value, function, otherwise):
    """`function(value)`, or `otherwise` where that fails."""
    results = tf.data.Dataset.from_tensors(value).map(function).ignore_errors()
    spare = tf.data.Dataset.from_tensors(otherwise)
    return results.concatenate(spare).take(1).get_single_element()


def _require(condition, message: str, *values):
    return tf.debugging.Assert(condition, [tf.strings.format(message, values)])
