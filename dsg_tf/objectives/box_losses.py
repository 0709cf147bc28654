"""Losses of boxes: smooth L1 of encoded offsets, or generalised IoU; and where their edges should be."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from dsg_tf import boxes as box_lib
from dsg_tf.keras import load_addons

RefineLoss = Callable[..., tf.Tensor]


def make_refine_loss(kind: str, beta: float) -> RefineLoss:
    """Loss per box of the box refiner.

    Args:
      kind: "smooth_l1" of the encoded offsets, or "giou" (Rezatofighi et al. 2019) of the refined boxes.
      beta: where smooth L1 turns from quadratic to linear.

    Returns:
      A function of (deltas, proposals, true boxes, which boxes count) to float32 `[B, N]`.

    Raises:
      ValueError: GIoU needs the extra [addons], which is not installed.
    """

    def of_offsets(deltas, proposals, truth, counts):
        target = tf.where(counts[..., tf.newaxis], box_lib.encode(truth, proposals), 0.0)
        return tf.reduce_sum(smooth_l1(deltas - target, beta), axis=-1)

    def giou(deltas, proposals, truth, counts):
        losses = tfa.losses.giou_loss(truth, box_lib.decode(deltas, proposals))
        return tf.reshape(losses, tf.shape(counts))  # It drops axes of length 1.

    if kind == "smooth_l1":
        return of_offsets
    tfa = load_addons("--refine_loss=giou")
    return giou


def smooth_l1(error, beta: float):
    """Quadratic up to `beta`, then linear with slope 1."""
    error = tf.abs(error)
    return tf.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta)


def edge_targets(truth, starts, count: int):
    """Where edges are, among whole pixels: between two of them each has its share (Li et al. 2020).

    Args:
      truth, starts: float32 `[B, N, 4]`, boxes in pixels of the network input.
      count: of places, half of them outside of a box, see `EdgeRefiner`.

    Returns:
      float32 `[B, N, 4, count]`, which sums to 1; edges beyond the last place are there.
    """
    last = count - 1.0
    inside = tf.clip_by_value((truth - starts) * tf.constant(box_lib.INWARD) + last / 2, 0.0, last)
    return tf.maximum(1.0 - tf.abs(inside[..., tf.newaxis] - tf.range(count, dtype=tf.float32)), 0.0)
