"""Box geometry inside the program: the order of coordinates, scaling, flipping and unions.

A box is `[y0, x0, y1, x1]`, float32, with y1 and x1 exclusive. Inside the model boxes are in pixels of the network
input; files, evaluation output and serving use pixels of the original image. IoU, encoding, decoding and suppression
are Model Garden's (`official.vision.ops`), which uses the same order. What order a file format has, its reader knows.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from official.vision.ops import box_ops

# Scale of the regression targets (dy, dx, dh, dw), as in Faster R-CNN.
REFINE_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
# From the outside of a box to its inside, the coordinates of y0 and x0 grow, those of y1 and x1 fall.
INWARD = (1.0, 1.0, -1.0, -1.0)


def scale(boxes, factors_yx):
    """Multiplies boxes `[..., 4]` by `factors_yx` `[..., 2]` (y, x); broadcasts, tensors or arrays."""
    return boxes * _twice(factors_yx)


def to_whole_pixels(boxes, size, original_size):
    """Moves edges to the nearest whole pixels of the original images.

    Args:
      boxes: float32 `[B, N, 4]`, pixels of the network input.
      size, original_size: float32 `[B, 2]`, height and width of the images in the network input and of the originals.

    Returns:
      Boxes in pixels of the network input. On the same pixels they equal an annotation's bit for bit, as the metric's
      cells need.
    """
    whole = tf.round(scale(boxes, (original_size / size)[:, tf.newaxis]))
    return scale(whole, (size / original_size)[:, tf.newaxis])


def flip_horizontal(boxes, width):
    """Mirrors boxes `[..., 4]` in an image of `width` pixels."""
    stack = tf.stack if tf.is_tensor(boxes) else np.stack
    y0, x0, y1, x1 = (boxes[..., k] for k in range(4))
    return stack([y0, width - x1, y1, width - x0], -1)


def normalize(boxes, size):
    """Divides boxes `[..., 4]` by `size` `[..., 2]` (height, width): coordinates in [0, 1]."""
    # Not a product with 1 / size, whose rounding puts whole numbers of the metric's cells off by one.
    return boxes / _twice(size)


def union(first, second):
    """The smallest box that contains both; `[..., 4]`, broadcasts (the paper, section 3.2)."""
    return tf.concat([tf.minimum(first[..., :2], second[..., :2]), tf.maximum(first[..., 2:], second[..., 2:])], -1)


def iou(boxes, others):
    """IoU of every pair, `[B, N, 4]` and `[B, M, 4]` to `[B, N, M]`; 0 where either box is empty."""
    return tf.maximum(box_ops.bbox_overlap(boxes, others), 0.0)


def overlap(boxes):
    """Intersection over the smaller area of every pair: `[B, N, 4]` to `[B, N, N]`; 0 where either box is empty."""
    first, second = boxes[:, :, tf.newaxis], boxes[:, tf.newaxis]
    sides = tf.minimum(first[..., 2:], second[..., 2:]) - tf.maximum(first[..., :2], second[..., :2])
    areas = tf.reduce_prod(tf.maximum(boxes[..., 2:] - boxes[..., :2], 0.0), axis=-1)
    smaller = tf.minimum(areas[:, :, tf.newaxis], areas[:, tf.newaxis])
    return tf.math.divide_no_nan(tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1), smaller)


def clip(boxes, size):
    """Clips boxes `[B, N, 4]` to images of `size` `[B, 2]` (height, width)."""
    return box_ops.clip_boxes(boxes, size[:, tf.newaxis, :])


def encode(boxes, anchors, weights=REFINE_WEIGHTS):
    """Regression targets `[..., 4]` (dy, dx, dh, dw) that move `anchors` onto `boxes`."""
    return box_ops.encode_boxes(boxes, anchors, weights=list(weights))


def decode(deltas, anchors, weights=REFINE_WEIGHTS):
    """Inverse of `encode` (the supplement, section 1, "Bounding Box Refinement")."""
    return box_ops.decode_boxes(deltas, anchors, weights=list(weights))


def non_maxima(boxes, scores, iou_threshold: float, limit: int | None = None):
    """Which boxes a non-maximum suppression keeps: `[B, N, 4]` and scores `[B, N]` to bool `[B, N]`.

    Args:
      limit: keep no more than so many, the best; None: all.
    """
    count = boxes.shape[1]
    limit = min(limit or count, count)

    def of_image(image):
        # The operation behind `tf.image.non_max_suppression`, since what TensorFlow has for batches goes through
        # AutoGraph, for more than a second. Not Model Garden's: that has 0.5 in place of the threshold where what is
        # suppressed could suppress others.
        kept, number = tf.raw_ops.NonMaxSuppressionV4(
            boxes=image[0],
            scores=image[1],
            max_output_size=limit,
            iou_threshold=iou_threshold,
            score_threshold=-float("inf"),
            pad_to_max_output_size=True,
        )
        is_kept = (kept[:, tf.newaxis] == tf.range(count)) & tf.sequence_mask(number, limit)[:, tf.newaxis]
        return tf.reduce_any(is_kept, axis=0)

    return tf.map_fn(of_image, (boxes, scores), fn_output_signature=tf.TensorSpec([count], tf.bool))


def non_empty(boxes):
    """True where a box `[..., 4]` has a positive height and width."""
    return tf.reduce_all(boxes[..., 2:] > boxes[..., :2], -1)


def _twice(values_yx):
    concat = tf.concat if tf.is_tensor(values_yx) else np.concatenate
    return concat([values_yx, values_yx], -1)
