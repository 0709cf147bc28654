"""The metric of referring relationships: IoU of L x L masks of the subject and of the object boxes.

The paper, section 5.2, after Krishna et al. 2018 (L = 14).
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import ROLES

MASK_SIZE = 14
MAP_THRESHOLD = 0.5
RECALL_IOU = 0.5


def rasterize(boxes, selected, size: int = MASK_SIZE):
    """Mask of the union of boxes.

    Args:
      boxes: float32 `[..., N, 4]`, normalised to [0, 1].
      selected: bool `[..., N]`; leading axes broadcast against those of `boxes`.
      size: L.

    Returns:
      bool `[..., L, L]`: a box covers the cells floor(lo * L) to ceil(hi * L), exclusive.
    """
    cells = tf.range(size, dtype=tf.float32)
    first, last = tf.floor(boxes[..., :2] * size), tf.math.ceil(boxes[..., 2:] * size)
    covered = (cells >= first[..., tf.newaxis]) & (cells < last[..., tf.newaxis])  # [..., N, 2, L]
    rows, columns = tf.unstack(tf.cast(covered, tf.float32), axis=-2)
    rows *= tf.cast(selected, tf.float32)[..., tf.newaxis]
    columns = tf.broadcast_to(columns, tf.shape(rows))
    return tf.matmul(rows, columns, transpose_a=True) > 0.5


def mask_iou(first, second):
    """IoU of bool masks `[..., L, L]`; 0 where both are empty."""
    intersection = tf.reduce_sum(tf.cast(first & second, tf.float32), axis=(-2, -1))
    union = tf.reduce_sum(tf.cast(first | second, tf.float32), axis=(-2, -1))
    return tf.math.divide_no_nan(intersection, union)


def referring_iou(outputs, batch) -> dict[str, tf.Tensor]:
    """The IoU of each query.

    Args:
      outputs: see `answer_mask`.
      batch: `true_boxes` `[B, M, 4]`, `subject_of`, `object_of` `[B, Q, M]`, `image_size` `[B, 2]`.

    Returns:
      `subject_iou`, `object_iou` float32 `[B, Q]`; meaningless where the query is padded.
    """
    return {
        f"{role}_iou": mask_iou(answer_mask(outputs, batch["image_size"], role), true_mask(batch, role))
        for role in ROLES
    }


def answer_mask(outputs, image_size, role: str):
    """bool `[B, Q, L, L]`: what a system answers as `role`.

    Args:
      outputs: `boxes` `[B, N, 4]` (pixels) and `<role>_mask` bool `[B, Q, N]`; or, of the attention models,
        `<role>_map` float32 `[B, Q, L, L]`, which answers where it is at least one half.
      image_size: float32 `[B, 2]`.
    """
    if f"{role}_map" in outputs:
        return outputs[f"{role}_map"] >= MAP_THRESHOLD
    return _mask_of(outputs["boxes"], image_size, outputs[f"{role}_mask"])


def true_mask(batch, role: str):
    """bool `[B, Q, L, L]`: the ground truth of `role`."""
    return _mask_of(batch["true_boxes"], batch["image_size"], batch[f"{role}_of"])


def _mask_of(boxes, image_size, selected):
    return rasterize(box_lib.normalize(boxes, image_size[:, tf.newaxis])[:, tf.newaxis], selected)


def proposal_recall(outputs, batch):
    """Ground-truth boxes that some proposal covers at IoU 0.5: their number, and that of all, int32 scalars."""
    iou = (
        box_lib.iou(outputs["proposals"], batch["true_boxes"]) * tf.cast(outputs["valid"], tf.float32)[..., tf.newaxis]
    )
    found = (tf.reduce_max(iou, axis=1) >= RECALL_IOU) & batch["box_mask"]
    return tf.reduce_sum(tf.cast(found, tf.int32)), tf.reduce_sum(tf.cast(batch["box_mask"], tf.int32))
