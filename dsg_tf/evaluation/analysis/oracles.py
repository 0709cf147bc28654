"""What limits the score: the metric with parts of the answer replaced by the truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from dsg_tf.data import roles
from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.objectives import metrics, targets


def analyze(
    model, shards: Sequence[str], spec: BatchSpec, batch_size: int, max_images: int = 0
) -> dict[str, dict[str, float]]:
    """Subject and object IoU of a split, as it is and with oracles.

    A proposal is *matched* where its IoU with a true box is at least 0.5.

    Returns:
      {name: {"subject_iou", "object_iou"}} for

      - `model`: the answers themselves;
      - `true_boxes`: matched boxes exchanged for their true box after the classifier;
      - `true_roles`: matched boxes answer what they are, all others Background: a perfect classifier;
      - `true_roles_and_boxes`: both: what the detector's misses and the metric's L = 14 leave;
      - `true_proposals`: the network runs on the true boxes in place of the detector's.

    Raises:
      ValueError: the system answers with maps, not with boxes.
    """

    @tf.function(autograph=False)
    def step(batch):
        outputs = model(batch, training=False)
        if "boxes" not in outputs:
            raise ValueError("oracles are about boxes; this system answers with maps")
        matches = targets.match(outputs["proposals"], outputs["valid"], batch)
        truth = tf.gather(batch["true_boxes"], matches["index"], axis=1, batch_dims=1)
        boxes = tf.where(matches["foreground"][..., tf.newaxis], truth, outputs["boxes"])
        wanted, known = targets.role_targets(matches, batch)
        # A box that is both Subject and Object answers as both.
        sets = {f"{role}_mask": (wanted[..., label] > 0) & known for role, label in roles.LABEL_OF.items()}
        proposed = {**batch, "proposals": batch["true_boxes"], "proposal_mask": batch["box_mask"]}
        variants = {
            "model": outputs,
            "true_boxes": {**outputs, "boxes": boxes},
            "true_roles": {**outputs, **sets},
            "true_roles_and_boxes": {**outputs, **sets, "boxes": boxes},
            "true_proposals": model(proposed, training=False),
        }
        mask = tf.cast(batch["query_mask"], tf.float32)
        sums = {
            name: [tf.reduce_sum(iou * mask) for iou in metrics.referring_iou(variant, batch).values()]
            for name, variant in variants.items()
        }
        return sums, tf.reduce_sum(mask), tf.reduce_sum(tf.cast(batch["example_mask"], tf.int32))

    totals: dict[str, np.ndarray] = {}
    num_queries, num_images = 0.0, 0
    for batch in pipeline.eval_batches(shards, spec, batch_size):
        sums, queries, images = step(batch)
        for name, pair in sums.items():
            totals[name] = totals.get(name, 0.0) + np.array([float(value) for value in pair])
        num_queries, num_images = num_queries + float(queries), num_images + int(images)
        if max_images and num_images >= max_images:
            break
    return {
        name: dict(zip(("subject_iou", "object_iou"), (total / max(num_queries, 1.0)).tolist()))
        for name, total in totals.items()
    }
