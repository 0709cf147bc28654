"""Queries of an evaluation as pictures: ground truth beside answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import canvas, query_panels
from dsg_tf.evaluation import inference
from dsg_tf.evaluation.query_results import Evaluation, QueryResult
from dsg_tf.process import stopping

NUM_FIGURES = 12
NUM_BEST = 6
Panels = Mapping[str, Sequence[tuple[QueryResult, Image.Image]]]


def figures(
    model, evaluation: Evaluation, shards: list[str], spec: BatchSpec, vocabulary: Vocabulary, count: int = NUM_FIGURES
) -> dict[str, Image.Image]:
    """Draws ground truth beside answers.

    Returns:
      `sample`: queries at equal distances through the split; `worst`: those with the lowest IoU, one an image.
      Empty without queries.
    """
    chosen = choose(evaluation.queries, count)
    panels = draw(model, chosen, shards, spec, vocabulary)
    return sheets(panels)


def choose(queries: Sequence[QueryResult], count: int = NUM_FIGURES, best: int = 0) -> dict[str, list[QueryResult]]:
    """Queries to show.

    Returns:
      `sample`: `count` queries at equal distances through the split; `worst`: as many with the lowest IoU, one an
      image; with `best` also so many with the highest IoU, one an image, ambiguous ones first. Empty without queries.
    """
    if not queries:
        return {}
    chosen = {"sample": [queries[k] for k in np.unique(np.linspace(0, len(queries) - 1, count).astype(int))]}
    chosen["worst"] = _one_an_image(sorted(queries, key=_iou), count)
    if best:
        hard = lambda q: q.subject_ambiguous + q.object_ambiguous
        chosen["best"] = _one_an_image(sorted(queries, key=lambda q: (-_iou(q), -hard(q))), best)
    return chosen


def _iou(query: QueryResult) -> float:
    return query.subject_iou + query.object_iou


def _one_an_image(queries: Sequence[QueryResult], count: int) -> list[QueryResult]:
    firsts: dict[int, QueryResult] = {}
    for query in queries:
        if len(firsts) < count:
            firsts.setdefault(query.image, query)
    return list(firsts.values())


def sheets(panels: Panels) -> dict[str, Image.Image]:
    """The panels of `sample` and of `worst`, as one image each."""
    return {
        name: canvas.grid([panel for _, panel in panels[name]], columns=2)
        for name in ("sample", "worst")
        if name in panels
    }


def draw(
    model, chosen: Mapping[str, Sequence[QueryResult]], shards: Sequence[str], spec: BatchSpec, vocabulary: Vocabulary
) -> Panels:
    """Ground truth beside answers, a panel for each query of `choose`, in its order."""
    panels = _draw(model, {query for queries in chosen.values() for query in queries}, shards, spec, vocabulary)
    return {name: [(query, panels[query]) for query in queries] for name, queries in chosen.items()}


def _draw(model, chosen: set[QueryResult], shards, spec, vocabulary) -> dict[QueryResult, Image.Image]:
    by_image: dict[int, list[QueryResult]] = {}
    for query in chosen:
        by_image.setdefault(query.image, []).append(query)
    if not by_image:
        return {}

    infer = inference.of(model)
    panels = {}
    for number, batch in enumerate(pipeline.eval_batches(shards, spec, 1)):
        stopping.check()
        if number > max(by_image):
            break
        if number not in by_image:
            continue
        outputs = infer.outputs(batch)
        height, width = batch["image_size"].numpy()[0].astype(int)
        image = Image.fromarray(batch["image"].numpy()[0, :height, :width])
        truth = batch["true_boxes"].numpy()[0]
        for query in by_image[number]:
            panels[query] = query_panels.query_panel(
                image,
                describe(query.triplet, vocabulary),
                truth=[truth[batch[f"{role}_of"].numpy()[0, query.query]] for role in ROLES],
                ious=(query.subject_iou, query.object_iou),
                **query_panels.answer(outputs, query.query),
            )
    return panels


def describe(triplet: tuple[int, int, int], vocabulary: Vocabulary) -> str:
    """The query in words."""
    subject, relation, object_ = triplet
    return f"{vocabulary.entities[subject]}, {vocabulary.relations[relation]}, {vocabulary.entities[object_]}"
