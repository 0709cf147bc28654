"""The metric of referring relationships: IoU of L x L masks of the subject and of the object boxes.

The paper, section 5.2, after Krishna et al. 2018 (L = 14).
"""

from __future__ import annotations

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf import heads

MASK_SIZE = 14
RECALL_IOU = 0.5


def rasterize(boxes, selected, size: int = MASK_SIZE):
    """Mask of the union of boxes.

    Args:
      boxes: float32 ``[..., N, 4]``, normalised to [0, 1].
      selected: bool ``[..., N]``; leading axes broadcast against those of ``boxes``.
      size: L.

    Returns:
      bool ``[..., L, L]``: a box covers the cells floor(lo * L) to ceil(hi * L), exclusive.
    """
    cells = tf.range(size, dtype=tf.float32)
    first, last = tf.floor(boxes[..., :2] * size), tf.math.ceil(boxes[..., 2:] * size)
    covered = (cells >= first[..., tf.newaxis]) & (cells < last[..., tf.newaxis])  # [..., N, 2, L]
    rows, columns = tf.unstack(tf.cast(covered, tf.float32), axis=-2)
    rows *= tf.cast(selected, tf.float32)[..., tf.newaxis]
    columns = tf.broadcast_to(columns, tf.shape(rows))
    return tf.matmul(rows, columns, transpose_a=True) > 0.5


def mask_iou(first, second):
    """IoU of bool masks ``[..., L, L]``; 0 where both are empty."""
    intersection = tf.reduce_sum(tf.cast(first & second, tf.float32), axis=(-2, -1))
    union = tf.reduce_sum(tf.cast(first | second, tf.float32), axis=(-2, -1))
    return tf.math.divide_no_nan(intersection, union)


def select(role_logits, valid, label: int):
    """The answer set: boxes classified as ``label``, else the one with its highest probability.

    Args:
      role_logits: float32 ``[B, Q, N, 4]``; valid: bool ``[B, N]``.

    Returns:
      bool ``[B, Q, N]``; empty only where no box is valid.
    """
    valid = valid[:, tf.newaxis]
    chosen = (tf.argmax(role_logits, axis=-1) == label) & valid
    scores = tf.where(valid, tf.nn.softmax(role_logits)[..., label], -1.0)
    best = tf.one_hot(tf.argmax(scores, axis=-1), scores.shape[-1], on_value=True, off_value=False) & valid
    return tf.where(tf.reduce_any(chosen, axis=-1, keepdims=True), chosen, best)


def referring_iou(outputs, batch) -> dict[str, tf.Tensor]:
    """The IoU of each query.

    Args:
      outputs: ``boxes`` ``[B, N, 4]``, ``valid`` ``[B, N]``, ``role_logits`` ``[B, Q, N, 4]``.
      batch: ``boxes`` ``[B, M, 4]``, ``subject_of``, ``object_of`` ``[B, Q, M]``, ``image_size`` ``[B, 2]``.

    Returns:
      ``subject_iou``, ``object_iou`` float32 ``[B, Q]`` (meaningless where the query is padded); ``subject_set``,
      ``object_set`` bool ``[B, Q, N]``: the boxes of the answers.
    """
    size = batch["image_size"][:, tf.newaxis]
    predicted = box_lib.normalize(outputs["boxes"], size)[:, tf.newaxis]
    truth = box_lib.normalize(batch["boxes"], size)[:, tf.newaxis]
    result = {}
    for name, label in (("subject", heads.SUBJECT), ("object", heads.OBJECT)):
        chosen = select(outputs["role_logits"], outputs["valid"], label)
        result[f"{name}_set"] = chosen
        result[f"{name}_iou"] = mask_iou(rasterize(predicted, chosen), rasterize(truth, batch[f"{name}_of"]))
    return result


def proposal_recall(outputs, batch):
    """Ground-truth boxes that some proposal covers at IoU 0.5: their number, and that of all, int32 scalars."""
    iou = box_lib.iou(outputs["proposals"], batch["boxes"]) * tf.cast(outputs["valid"], tf.float32)[..., tf.newaxis]
    found = (tf.reduce_max(iou, axis=1) >= RECALL_IOU) & batch["box_mask"]
    return tf.reduce_sum(tf.cast(found, tf.int32)), tf.reduce_sum(tf.cast(batch["box_mask"], tf.int32))
