"""Evaluation by the paper's protocol (section 5.2) and pictures of what the model answers."""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import tensorflow as tf
from PIL import Image

from dsg_tf import files, heads, metrics, visualize
from dsg_tf.build import input_spec
from dsg_tf.config import Config
from dsg_tf.data import pipeline
from dsg_tf.data.network_input import InputSpec
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Vocabulary

NUM_FIGURES = 12


@dataclasses.dataclass(frozen=True)
class QueryResult:
    """One query's score and where it is: ``image`` counts the images of the split in file order."""

    image: int
    image_id: str
    query: int
    triplet: tuple[int, int, int]
    subject_iou: float
    object_iou: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All queries of a split. `summary` is what goes into ``eval_<split>.json``."""

    queries: list[QueryResult]
    num_images: int
    proposal_recall: float
    seconds_per_image: float

    def summary(self) -> dict[str, float]:
        """Means and standard errors over queries (NaN without queries), counts, recall at IoU 0.5, time."""
        scores = {}
        for role in ("subject", "object"):
            values = np.array([getattr(q, f"{role}_iou") for q in self.queries], np.float64)
            scores[f"{role}_iou"] = float(values.mean()) if len(values) else float("nan")
            stderr = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
            scores[f"{role}_iou_stderr"] = float(stderr)
        return {**scores, "num_queries": len(self.queries), "num_images": self.num_images,
                "proposal_recall": self.proposal_recall, "seconds_per_image": self.seconds_per_image}


def evaluate(model, shards: list[str], spec: InputSpec, batch_size: int, max_images: int = 0) -> Evaluation:
    """Scores a model on all queries of a split.

    Args:
      model: a `DSG`.
      shards, spec, batch_size: see `pipeline.eval_batches`.
      max_images: stop after so many images; 0: all.

    Returns:
      The scores; ``seconds_per_image`` is the median over batches, the first (tracing) left out where there are more.
    """
    @tf.function
    def step(batch):
        outputs = model(batch, training=False)
        found = metrics.referring_iou(outputs, batch)
        return found["subject_iou"], found["object_iou"], *metrics.proposal_recall(outputs, batch)

    queries, seconds, num_images, num_found, num_boxes = [], [], 0, 0, 0
    for batch in pipeline.eval_batches(shards, spec, batch_size):
        start = time.perf_counter()
        subject_iou, object_iou, found, boxes = [value.numpy() for value in step(batch)]
        seconds.append((time.perf_counter() - start) / batch_size)
        num_found, num_boxes = num_found + int(found), num_boxes + int(boxes)
        triplets, ids = batch["queries"].numpy(), batch["image_id"].numpy()
        for row, column in np.argwhere(batch["query_mask"].numpy()):
            queries.append(QueryResult(
                num_images + int(row), ids[row].decode(), int(column), tuple(triplets[row, column].tolist()),
                float(subject_iou[row, column]), float(object_iou[row, column])))
        num_images += int(batch["example_mask"].numpy().sum())
        if max_images and num_images >= max_images:
            break
    return Evaluation(queries, num_images, num_found / max(num_boxes, 1), float(np.median(seconds[1:] or seconds)))


def figures(model, evaluation: Evaluation, shards: list[str], spec: InputSpec, vocabulary: Vocabulary,
            count: int = NUM_FIGURES) -> dict[str, Image.Image]:
    """Draws ground truth beside answers.

    Returns:
      ``sample``: queries at equal distances through the split; ``worst``: those with the lowest IoU, one an image.
      Empty without queries.
    """
    queries = evaluation.queries
    if not queries:
        return {}
    sample = [queries[k] for k in np.unique(np.linspace(0, len(queries) - 1, count).astype(int))]
    worst, seen = [], set()
    for query in sorted(queries, key=lambda q: q.subject_iou + q.object_iou):
        if query.image not in seen and len(worst) < count:
            worst.append(query)
            seen.add(query.image)
    panels = _draw(model, {*sample, *worst}, shards, spec, vocabulary)
    return {name: visualize.grid([panels[q] for q in chosen], columns=2)
            for name, chosen in (("sample", sample), ("worst", worst))}


def _draw(model, chosen: set[QueryResult], shards, spec, vocabulary) -> dict[QueryResult, Image.Image]:
    by_image: dict[int, list[QueryResult]] = {}
    for query in chosen:
        by_image.setdefault(query.image, []).append(query)

    @tf.function
    def step(batch):
        outputs = model(batch, training=False)
        return outputs, metrics.referring_iou(outputs, batch)

    panels = {}
    for number, batch in enumerate(pipeline.eval_batches(shards, spec, 1)):
        if number > max(by_image):
            break
        if number not in by_image:
            continue
        outputs, found = step(batch)
        height, width = batch["image_size"].numpy()[0].astype(int)
        image = Image.fromarray(batch["image"].numpy()[0, :height, :width])
        truth, predicted = batch["boxes"].numpy()[0], outputs["boxes"].numpy()[0]
        for query in by_image[number]:
            sets = {role: found[f"{role}_set"].numpy()[0, query.query] for role in ("subject", "object")}
            true_sets = {role: batch[f"{role}_of"].numpy()[0, query.query] for role in ("subject", "object")}
            scores = tf.nn.softmax(outputs["role_logits"])[0, query.query].numpy()
            panels[query] = visualize.query_panel(
                image, describe(query.triplet, vocabulary),
                truth=(truth[true_sets["subject"]], truth[true_sets["object"]]),
                prediction=(predicted[sets["subject"]], predicted[sets["object"]]),
                scores=(scores[sets["subject"], heads.SUBJECT], scores[sets["object"], heads.OBJECT]),
                ious=(query.subject_iou, query.object_iou))
    return panels


def describe(triplet: tuple[int, int, int], vocabulary: Vocabulary) -> str:
    """The query in words."""
    subject, relation, object_ = triplet
    return f"{vocabulary.entities[subject]}, {vocabulary.relations[relation]}, {vocabulary.entities[object_]}"


def evaluate_split(model, config: Config, info: DatasetInfo, split: str, step: int, *, data_dir: str = "",
                   model_dir: str = "", max_images: int = 0) -> dict:
    """Evaluates and draws one split, and writes the results to the model directory.

    Args:
      data_dir, model_dir: where they are not those of ``config``.

    Returns:
      What ``eval_<split>.json`` holds.
    """
    shards = info.shard_paths(data_dir or config.data_dir, split)
    spec = input_spec(config, info, split, training=False)
    result = evaluate(model, shards, spec, config.eval_batch_size, max_images)
    drawn = figures(model, result, shards, spec, info.vocabulary)
    return write(result, drawn, model_dir or config.model_dir, split, step)


def write(evaluation: Evaluation, drawn: dict[str, Image.Image], model_dir: str, split: str, step: int) -> dict:
    """Writes ``eval_<split>.json`` and ``figures/<split>_<name>.png``; returns what the JSON holds."""
    summary = {"split": split, "step": step, **evaluation.summary()}
    for name, picture in drawn.items():
        visualize.save_png(picture, os.path.join(model_dir, "figures", f"{split}_{name}.png"))
    files.write_json(os.path.join(model_dir, f"eval_{split}.json"), summary)
    return summary


def table(summaries: list[dict]) -> str:
    """The results as text."""
    lines = [f"{'split':8} {'subject IoU':>16} {'object IoU':>16} {'queries':>8} {'images':>7} {'recall@0.5':>10} "
             f"{'s/image':>8}"]
    for s in summaries:
        cells = [f"{s[f'{role}_iou']:.4f} ± {s[f'{role}_iou_stderr']:.4f}" for role in ("subject", "object")]
        lines.append(f"{s['split']:8} {cells[0]:>16} {cells[1]:>16} {s['num_queries']:8d} {s['num_images']:7d} "
                     f"{s['proposal_recall']:10.4f} {s['seconds_per_image']:8.4f}")
    return "\n".join(lines)
