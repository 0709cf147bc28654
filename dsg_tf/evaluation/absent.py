"""Queries about what is not in the picture: drawn for an evaluation, and how well a system tells them from true ones.

They never enter the paper's metric, which asks for what is there only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsg_tf.data.batches import contrast
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.evaluation import binary_scores

KINDS = ("other_relation", "absent_class")
SEED = 0  # Of what is drawn for each image, with the image's number in the split.


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """Queries that do not hold, of a batch.

    Attributes:
      queries: int32 `[B, Q, 3]`, zero where padded.
      kinds: `[B, Q]`, one of `KINDS`; "" where padded.
    """

    queries: np.ndarray
    kinds: np.ndarray


def draw(batch: dict[str, tf.Tensor], first_image: int, spec: BatchSpec) -> Contrastive:
    """As many as each image has true ones, or as there are; the same whatever the batch size.

    Args:
      batch: of `pipeline.eval_batches`.
      first_image: number of its first image in the split.
      spec: of the batch.
    """
    queries = np.zeros(batch["queries"].shape, np.int32)
    kinds = np.full(queries.shape[:2], "", "<U14")
    for row, (query_mask, box_mask) in enumerate(zip(batch["query_mask"].numpy(), batch["box_mask"].numpy())):
        true, entities = batch["queries"][row].numpy()[query_mask], batch["entities"][row].numpy()[box_mask]
        drawn = _draw(
            true, entities, np.array([SEED, first_image + row], np.int32), spec.num_entities, spec.num_relations
        ).numpy()
        there = np.isin(drawn[:, [0, 2]], entities).all(axis=1)
        queries[row, : len(drawn)], kinds[row, : len(drawn)] = drawn, np.where(there, *KINDS)
    return Contrastive(queries, kinds)


@tf.function(autograph=False, reduce_retracing=True)
def _draw(queries, entities, key, num_entities: int, num_relations: int):
    # As in the input pipeline: counting classes has no deterministic form on GPUs, and a training's validation fails.
    with tf.device("/cpu:0"):
        count = tf.shape(queries)[0]
        return contrast.draw(queries, entities, count, key, num_entities=num_entities, num_relations=num_relations)


def report(truths: Sequence[float], others: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Scores of `answer_probability`, for `eval_<split>.json`.

    Args:
      truths: of the queries that hold; others: of those that do not, by kind.

    Returns:
      For `all` contrastive queries and for each kind of them, against all that hold: `auroc`, `average_precision`,
      `calibration_error` (NaN where there are none), and `num_true`, `num_contrastive`.
    """
    parts = {"all": [score for scores in others.values() for score in scores], **others}
    return {
        name: {
            "auroc": binary_scores.auroc(truths, part),
            "average_precision": binary_scores.average_precision(truths, part),
            "calibration_error": binary_scores.calibration_error(truths, part),
            "num_true": len(truths),
            "num_contrastive": len(part),
        }
        for name, part in parts.items()
    }
