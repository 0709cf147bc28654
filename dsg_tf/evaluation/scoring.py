"""Evaluation by the paper's protocol (section 5.2) and pictures of what the model answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import logging
from PIL import Image

from dsg_tf.build import batch_spec
from dsg_tf.config import Config
from dsg_tf.data.batches import pipeline
from dsg_tf.data.batches.batch_spec import BatchSpec
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.roles import ROLES
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import canvas
from dsg_tf.evaluation import absent, inference, query_results
from dsg_tf.evaluation.query_results import Evaluation, QueryResult
from dsg_tf.objectives import metrics
from dsg_tf.process import files, stopping

NUM_FIGURES = 12


def evaluate(
    model,
    shards: list[str],
    spec: BatchSpec,
    batch_size: int,
    max_images: int = 0,
    *,
    count: Callable[..., dict[str, tf.Tensor]] | None = None,
    ask_absent: bool = False,
) -> Evaluation:
    """Scores a model on all queries of a split.

    Args:
      model: of `build.build_model`.
      shards, spec, batch_size: see `pipeline.eval_batches`.
      max_images: stop after so many images; 0: all.
      count: numbers of (outputs, batch), by name, to be summed over the batches.
      ask_absent: whether to ask for what is not there too, of a system that answers with boxes; see `absent`.

    Returns:
      The scores; `seconds_per_image` is the median over batches, the first (tracing) left out where there are more, and
      without what is not there.
    """
    infer = inference.of(model)
    queries: list[QueryResult] = []
    seconds: list[float] = []
    counts: dict[str, np.ndarray] = {}
    others: dict[str, list[float]] = {kind: [] for kind in absent.KINDS}
    num_images = num_found = num_boxes = 0
    for batch in pipeline.eval_batches(shards, spec, batch_size):
        stopping.check()
        start = time.perf_counter()
        outputs = infer.outputs(batch)
        scores, counted = _scores(outputs, batch, count)
        subject_iou, object_iou, found, boxes = [np.asarray(value) for value in scores]
        counts = {name: counts.get(name, 0) + value.numpy() for name, value in counted.items()}
        seconds.append((time.perf_counter() - start) / batch_size)
        num_found, num_boxes = num_found + int(found), num_boxes + int(boxes)
        probabilities = outputs["answer_probability"].numpy() if "answer_probability" in outputs else None
        if ask_absent and probabilities is not None:
            drawn = absent.draw(batch, num_images, spec)
            asked = infer.ask_again(outputs, {**batch, "queries": tf.constant(drawn.queries)})["answer_probability"]
            for kind, values in others.items():
                values += asked.numpy()[drawn.kinds == kind].tolist()
        triplets, ids = batch["queries"].numpy(), batch["image_id"].numpy()
        entities = np.where(batch["box_mask"], batch["entities"], -1)
        for row, column in np.argwhere(batch["query_mask"].numpy()):
            triplet = tuple(triplets[row, column].tolist())
            queries.append(
                QueryResult(
                    num_images + int(row),
                    ids[row].decode(),
                    int(column),
                    triplet,
                    float(subject_iou[row, column]),
                    float(object_iou[row, column]),
                    bool((entities[row] == triplet[0]).sum() > 1),
                    bool((entities[row] == triplet[2]).sum() > 1),
                    None if probabilities is None else float(probabilities[row, column]),
                )
            )
        num_images += int(batch["example_mask"].numpy().sum())
        if max_images and num_images >= max_images:
            break
    recall = num_found / num_boxes if num_boxes else None
    truths = [q.answer_probability for q in queries if q.answer_probability is not None]
    return Evaluation(
        queries,
        num_images,
        recall,
        float(np.median(seconds[1:] or seconds)),
        counts,
        absent.report(truths, others) if ask_absent and truths else None,
    )


@tf.function(autograph=False)
def _scores(outputs, batch, count):
    """(subject IoU, object IoU, true boxes that are found, true boxes) of a batch, and its counts."""
    found = metrics.referring_iou(outputs, batch)
    recall = metrics.proposal_recall(outputs, batch) if "proposals" in outputs else (0, 0)
    return (found["subject_iou"], found["object_iou"], *recall), count(outputs, batch) if count else {}


def figures(
    model, evaluation: Evaluation, shards: list[str], spec: BatchSpec, vocabulary: Vocabulary, count: int = NUM_FIGURES
) -> dict[str, Image.Image]:
    """Draws ground truth beside answers.

    Returns:
      `sample`: queries at equal distances through the split; `worst`: those with the lowest IoU, one an image.
      Empty without queries.
    """
    queries = evaluation.queries
    if not queries:
        return {}
    sample = [queries[k] for k in np.unique(np.linspace(0, len(queries) - 1, count).astype(int))]
    worst: list[QueryResult] = []
    seen: set[int] = set()
    for query in sorted(queries, key=lambda q: q.subject_iou + q.object_iou):
        if query.image not in seen and len(worst) < count:
            worst.append(query)
            seen.add(query.image)
    panels = _draw(model, {*sample, *worst}, shards, spec, vocabulary)
    return {
        name: canvas.grid([panels[q] for q in chosen], columns=2)
        for name, chosen in (("sample", sample), ("worst", worst))
    }


def _draw(model, chosen: set[QueryResult], shards, spec, vocabulary) -> dict[QueryResult, Image.Image]:
    by_image: dict[int, list[QueryResult]] = {}
    for query in chosen:
        by_image.setdefault(query.image, []).append(query)

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
            panels[query] = canvas.query_panel(
                image,
                describe(query.triplet, vocabulary),
                truth=[truth[batch[f"{role}_of"].numpy()[0, query.query]] for role in ROLES],
                ious=(query.subject_iou, query.object_iou),
                **canvas.answer(outputs, query.query),
            )
    return panels


def describe(triplet: tuple[int, int, int], vocabulary: Vocabulary) -> str:
    """The query in words."""
    subject, relation, object_ = triplet
    return f"{vocabulary.entities[subject]}, {vocabulary.relations[relation]}, {vocabulary.entities[object_]}"


def evaluate_split(
    model,
    config: Config,
    info: DatasetInfo,
    split: str,
    step: int,
    *,
    data_dir: str = "",
    model_dir: str = "",
    max_images: int = 0,
) -> dict:
    """Evaluates and draws one split, and writes the results to the model directory.

    Args:
      data_dir, model_dir: where they are not those of `config`.

    Returns:
      What `eval_<split>.json` holds.
    """
    shards = info.shard_paths(data_dir or config.data_dir, split)
    spec = batch_spec(config, info, split, training=False)
    result = evaluate(model, shards, spec, config.eval_batch_size, max_images, ask_absent=True)
    if result.answer_probability and not config.contrastive_queries and config.model != "two_step":
        logging.info("trained without --contrastive_queries: answer_probability has not learned what is not there")
    drawn = figures(model, result, shards, spec, info.vocabulary)
    return write(result, drawn, model_dir or config.model_dir, split, step)


def write(evaluation: Evaluation, drawn: dict[str, Image.Image], model_dir: str, split: str, step: int) -> dict:
    """Writes `figures/<split>_<name>.png`, `queries_<split>.csv` and, last, `eval_<split>.json`.

    Returns:
      What the JSON holds.
    """
    summary = {"split": split, "step": step, **evaluation.summary()}
    for name, picture in drawn.items():
        canvas.save_png(picture, os.path.join(model_dir, "figures", f"{split}_{name}.png"))
    query_results.write_queries(evaluation.queries, os.path.join(model_dir, f"queries_{split}.csv"))
    files.write_json(os.path.join(model_dir, f"eval_{split}.json"), summary)
    return summary
