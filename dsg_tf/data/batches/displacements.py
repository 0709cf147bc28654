"""How far the object of each relation lies from its subject, on average over a training set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsg_tf.data.batches import pipeline


def mean_displacements(shards: Sequence[str], num_relations: int) -> np.ndarray:
    """Mean over all instances of each relation of object centre minus subject centre.

    Args:
      shards: TFRecords of the training split.
      num_relations: R.

    Returns:
      float32 `[R, 2]`, (dy, dx) in heights and widths of the image; 0 for a relation without instances.
    """
    totals, counts = np.zeros([num_relations, 2]), np.zeros([num_relations, 1])
    for example in pipeline.annotated_images(shards).as_numpy_iterator():
        boxes, relations = example["boxes"], example["relations"]
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2 / example["size"]
        np.add.at(totals, relations[:, 1], centers[relations[:, 2]] - centers[relations[:, 0]])
        np.add.at(counts, relations[:, 1], 1)
    return (totals / np.maximum(counts, 1)).astype(np.float32)
