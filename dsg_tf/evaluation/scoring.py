"""Evaluation by the paper's protocol (section 5.2) and pictures of what the model answers."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

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
from dsg_tf.drawing import canvas
from dsg_tf.evaluation import absent, gallery, inference, query_results
from dsg_tf.evaluation.query_results import Evaluation, QueryResult
from dsg_tf.evaluation.report import pages
from dsg_tf.evaluation.report.error_kinds import ErrorKinds
from dsg_tf.objectives import metrics, score_bins
from dsg_tf.process import files, stopping

_FAR_OFF = 0.1  # The calibration error from which on a user is told.


def evaluate(
    model,
    shards: list[str],
    spec: BatchSpec,
    batch_size: int,
    max_images: int = 0,
    *,
    count: Callable[..., dict[str, tf.Tensor]] | None = None,
    ask_absent: bool = False,
    observe: Callable[..., None] | None = None,
) -> Evaluation:
    """Scores a model on all queries of a split.

    Args:
      model: of `build.build_model`.
      shards, spec, batch_size: see `pipeline.eval_batches`.
      max_images: stop after so many images; 0: all.
      count: numbers of (outputs, batch), by name, to be summed over the batches.
      ask_absent: whether to ask for what is not there too, of a system that answers with boxes; see `absent`.
      observe: is told (outputs, batch, {role: IoU float32 `[B, Q]`}) of every batch.

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
        if observe:
            observe(outputs, batch, dict(zip(ROLES, (subject_iou, object_iou))))
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
        float(np.median(seconds[1:] or seconds or [np.nan])),
        counts,
        absent.report(truths, others) if ask_absent and truths else None,
        others if ask_absent and truths else {},
    )


@tf.function(autograph=False)
def _scores(outputs, batch, count):
    """(subject IoU, object IoU, true boxes that are found, true boxes) of a batch, and its counts."""
    found = metrics.referring_iou(outputs, batch)
    recall = metrics.proposal_recall(outputs, batch) if "proposals" in outputs else (0, 0)
    return (found["subject_iou"], found["object_iou"], *recall), count(outputs, batch) if count else {}


def evaluate_split(
    model,
    config: Config,
    info: DatasetInfo,
    split: str,
    step: int,
    *,
    data_dir: str = "",
    model_dir: str = "",
    trained_in: str = "",
    max_images: int = 0,
    report: bool = True,
) -> dict:
    """Evaluates and draws one split, and writes the results to the model directory.

    Args:
      data_dir, model_dir: where they are not those of `config`.
      trained_in: where the model is, if that is not where the results go.
      max_images: only so many images; 0: all.
      report: whether to write `report_<split>.html`, too.

    Returns:
      What `eval_<split>.json` holds.
    """
    data_dir, model_dir = data_dir or config.data_dir, model_dir or config.model_dir
    shards = info.shard_paths(data_dir, split)
    spec = batch_spec(config, info, split, training=False)
    kinds = ErrorKinds()
    watched: dict[str, Any] = {"count": score_bins.count_roles, "observe": kinds} if report else {}
    result = evaluate(model, shards, spec, config.eval_batch_size, max_images, ask_absent=True, **watched)
    if result.answer_probability and not config.contrastive_queries and config.model != "two_step":
        logging.info("trained without --contrastive_queries: answer_probability has not learned what is not there")
    off = result.answer_probability["all"]["calibration_error"] if result.answer_probability else 0.0
    if off > _FAR_OFF:
        logging.info("answer_probability is off by %.2f in the mean: eval.py --calibrate mends that", off)
    chosen = gallery.choose(result.queries, best=gallery.NUM_BEST if report else 0)
    panels = gallery.draw(model, chosen, shards, spec, info.vocabulary)
    summary = write(result, gallery.sheets(panels), model_dir, split, step)
    if report:
        about = pages.About(config, info.vocabulary, data_dir, trained_in or config.model_dir, model_dir)
        pages.write(about, summary, result, kinds.of_roles, panels)
    return summary


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
