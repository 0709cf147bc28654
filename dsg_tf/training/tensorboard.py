"""What TensorBoard shows of a run, beside the scalars and pictures: texts, histograms and curves of the scores.

`docs/tensorboard.md` goes through the pages. All functions write to the default writer of `tf.summary`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram import metadata as histogram
from tensorboard.plugins.pr_curve import summary as pr_curve

from dsg_tf.config import Config
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Vocabulary
from dsg_tf.objectives import score_bins
from dsg_tf.process import provenance

CURVES = 10  # The most frequent entity classes and relations have a curve each.
HISTOGRAMS = {
    "score/subject_true": ("subject", 1),
    "score/subject_other": ("subject", 0),
    "score/object_true": ("object", 1),
    "score/object_other": ("object", 0),
    "score/proposal_true": ("proposal", 1),
    "score/proposal_other": ("proposal", 0),
    "score/right_class": ("right_class", 1),
}
_EDGES = np.linspace(0.0, 1.0, score_bins.BINS)


class Watched:
    """An iterator that knows how long its user waits for it; `first_step` is the last one before it begins."""

    def __init__(self, batches: Iterator, first_step: int):
        self._batches = batches
        self._last_step, self._last_time, self._waited = first_step, time.monotonic(), 0.0

    def __iter__(self) -> Watched:
        return self

    def __next__(self):
        start = time.monotonic()
        try:
            return next(self._batches)
        finally:
            self._waited += time.monotonic() - start

    def speed(self, step: int) -> dict[str, float]:
        """Since the last call: milliseconds a step, all told, and the share of them that went by waiting for input."""
        now = time.monotonic()
        seconds = now - self._last_time
        found = {
            "input/step_milliseconds": 1000 * seconds / max(step - self._last_step, 1),
            "input/wait_share": self._waited / seconds,
        }
        self._last_step, self._last_time, self._waited = step, now, 0.0
        return found


def write_run(config: Config, info: DatasetInfo, step: int) -> None:
    """Writes the texts `config`, `program` and `data`: what ran, and on what."""
    tf.summary.text("config", _as_table("setting", dataclasses.asdict(config)), step=step)
    tf.summary.text("program", _as_table("part", provenance.description()), step=step)
    rows = {
        name: (split.num_images, split.num_boxes, split.num_relations, split.num_queries)
        for name, split in info.splits.items()
    }
    classes = [
        f"{len(names)} {kind}: {', '.join(names)}"
        for kind, names in (("entity classes", info.vocabulary.entities), ("relations", info.vocabulary.relations))
    ]
    splits = _as_table("split", rows, ("images", "boxes", "relations", "queries"))
    tf.summary.text("data", "\n\n".join([config.data_dir, splits, *classes]), step=step)


def _as_table(name: str, rows: Mapping[str, Any], columns: tuple[str, ...] = ("value",)) -> str:
    """A Markdown table; with several columns, the value of a row is a tuple."""
    lines = [[name, *columns], ["---"] * (1 + len(columns))]
    lines += [[key, *(value if len(columns) > 1 else (value,))] for key, value in rows.items()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)


def write_scores(counts: Mapping[str, np.ndarray], vocabulary: Vocabulary, step: int) -> None:
    """Writes histograms of the scores, and curves of precision and recall over the threshold.

    Args:
      counts: what `score_bins.count` found, summed over a split.
      vocabulary: the class names.
      step: of the training.
    """
    for tag, (name, is_true) in HISTOGRAMS.items():
        if name in counts:
            _write_histogram(tag, counts[name][0, is_true], step)
    for role in ("subject", "object"):
        if role in counts:
            _write_curve(f"role/{role}", counts[role][0], step)
    for kind, names in (("entity", vocabulary.entities), ("relation", vocabulary.relations)):
        if kind in counts:
            for label in _most_frequent(counts[f"{kind}_truth"]):
                _write_curve(f"{kind}/{names[label]}", counts[kind][label], step)


def _most_frequent(numbers: np.ndarray) -> list[int]:
    order = np.argsort(-numbers, kind="stable")[:CURVES]
    return [int(label) for label in order if numbers[label]]


def _write_histogram(tag: str, bins: np.ndarray, step: int) -> None:
    """As `tf.summary.histogram` writes it, which counts for itself and so would have to be given all scores."""
    bins = np.append(bins[:-2], bins[-2] + bins[-1])  # The bin of 1 alone has no width.
    rows = np.stack([_EDGES[:-1], _EDGES[1:], bins], axis=1)
    filled = np.flatnonzero(bins)
    if len(filled):  # The page of distributions takes the outermost bins for the smallest and the largest score.
        rows = rows[filled[0] : filled[-1] + 1]
    tf.summary.write(tag, rows, step, histogram.create_summary_metadata(display_name=None, description=None))


def _write_curve(tag: str, bins: np.ndarray, step: int) -> None:
    """TensorBoard has no operation of TensorFlow 2 for these curves, only the protocol buffer."""
    summary = pr_curve.raw_data_pb(tag, num_thresholds=score_bins.BINS, **score_bins.precision_recall(bins))
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step)
