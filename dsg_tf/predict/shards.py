"""Answers all requests into JSON-lines shards, so that a killed run can go on.

A shard is one piece of work: `predictions-00000-of-00008.jsonl`, a line per image, which grows batch by batch under
another name (`growing_file.py`): a kill loses a batch. `settings.json` is there from the start: what the directory
holds the predictions of. `predictions.json` comes last: what became of the images; `errors.jsonl` before it, where
something has no answer. What a shard holds depends on the input, the model and the number of shards, not on what runs
the work.
"""

from __future__ import annotations

import dataclasses
import functools
import glob
import json
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from dsg_tf.predict import loading
from dsg_tf.predict.image_model import ImageModel, in_batches
from dsg_tf.predict.requests import ImageFolder, PreparedSplit
from dsg_tf.predict.summary import ERRORS_FILE, Counts, error_lines, error_rows, errors_of
from dsg_tf.process import files, growing_file, workers
from dsg_tf.process.beam import Beam

SETTINGS_FILE, SUMMARY_FILE = "settings.json", "predictions.json"
_LOADING = threading.Lock()


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A piece of work; its `len()` is the number of images that a killed run has not answered."""

    path: str
    requests: ImageFolder | PreparedSplit
    model: str
    batch_size: int
    strict: bool
    num_answered: int = 0

    def __len__(self) -> int:
        return len(self.requests) - self.num_answered


def predict(
    requests: ImageFolder | PreparedSplit,
    model: str,
    output_dir: str,
    *,
    batch_size: int = 8,
    num_shards: int | None = None,
    strict: bool = False,
    beam: Beam | None = None,
) -> dict[str, Any]:
    """Writes the answers to all requests; goes on where a killed run ended.

    Args:
      requests: images and queries.
      model: an export, a model directory or the name of a model at hand, see `loading.find`.
      output_dir: for these predictions alone.
      batch_size: images that the model sees at once; the predictions are the same with any.
      num_shards: files; one per 250 images if None.
      strict: raise for the first image or query without an answer.
      beam: what runs the work in place of this process.

    Returns:
      The content of `predictions.json`: counts of images and queries, errors by kind with the first offenders, files,
      bytes, and images a second of the last call that did any.

    Raises:
      ValueError: `output_dir` holds other predictions, another process writes there, nothing at all could be answered,
        the input does not fit, or an error and `strict`.
      FileNotFoundError: there is no model.
    """
    path = loading.find(model)
    kind = "saved_model" if loading.is_export(path) else "model"
    num_shards = num_shards or -(-len(requests) // workers.IMAGES_PER_SHARD)
    if num_shards > len(requests):
        raise ValueError(f"--num_shards={num_shards} are too many for {len(requests)} images")
    settings = {
        kind: loading.fingerprint(path),
        **requests.source,
        "num_images": len(requests),
        "num_shards": num_shards,
    }
    if not os.path.exists(os.path.join(output_dir, files.LOCK)):
        _refuse_others(output_dir, settings)  # First, so that no lock is left where there is something else.
    with files.held(output_dir):
        _claim(output_dir, settings)
        summary = _predict(requests, path, output_dir, settings, batch_size, strict, beam or workers.Local(1))
    _refuse_errors(strict, ((kind, entry["first"][0]) for kind, entry in summary["errors"].items()))
    if summary["errors"] and not summary["num_answered_images"]:
        raise ValueError("\n".join(["nothing could be answered:", *error_lines(summary["errors"])]))
    return summary


def _predict(
    requests: ImageFolder | PreparedSplit,
    model: str,
    output_dir: str,
    settings: dict[str, Any],
    batch_size: int,
    strict: bool,
    runner: Beam | workers.Local,
) -> dict[str, Any]:
    """Does what is left to do; returns the content of `predictions.json`."""
    num_shards = settings["num_shards"]
    shards = [
        _Shard(
            os.path.join(output_dir, f"predictions-{i:05d}-of-{num_shards:05d}.jsonl"),
            requests.part(*workers.images_of(i, num_shards, len(requests))),
            model,
            batch_size,
            strict,
        )
        for i in range(num_shards)
    ]
    to_do = [
        dataclasses.replace(
            shard, num_answered=growing_file.num_lines(growing_file.unfinished_name(shard.path), batch_size)
        )
        for shard in shards
        if not os.path.exists(shard.path)
    ]
    if to_do or not os.path.exists(os.path.join(output_dir, SUMMARY_FILE)):
        start = time.perf_counter()
        left = sum(map(len, to_do))
        runner.run(_write_shard, to_do, "predictions" if left == len(requests) else "predictions, the rest")
        _write_summary(shards, settings, model, left, time.perf_counter() - start)
    with open(os.path.join(output_dir, SUMMARY_FILE), encoding="utf-8") as file:
        return json.load(file)


def _write_shard(shard: _Shard) -> None:
    model = _load(shard.model)
    with growing_file.growing(shard.path, shard.batch_size) as file:
        for batch in in_batches(shard.requests.part(file.num_lines, len(shard.requests)), shard.batch_size):
            lines = model.lines(batch)
            for line in lines:
                _refuse_errors(shard.strict, errors_of(line))
            file.append(map(json.dumps, lines))
            for _ in lines:
                workers.count_image()


def _refuse_errors(strict: bool, errors: Iterable[tuple[str, str]]) -> None:
    for kind, what in errors:
        if strict:
            raise ValueError(f"{kind}: {what} (--strict)")


def _load(model: str) -> ImageModel:
    """Once a process: a worker writes many shards, and some of Beam's workers are threads."""
    with _LOADING:
        return _loaded(model)


@functools.lru_cache(maxsize=1)
def _loaded(model: str) -> ImageModel:
    return loading.load(model)


def _claim(output_dir: str, settings: dict[str, object]) -> None:
    """Says what the directory is for, or checks that it is for this; removes what a killed run left and nobody needs.

    Raises:
      ValueError: it holds other predictions, or something else.
    """
    _refuse_others(output_dir, settings)
    path = os.path.join(output_dir, SETTINGS_FILE)
    if not os.path.exists(path):
        files.write_json(path, settings)
    for pattern in ("settings.tmp*", "predictions*.tmp*", "errors.tmp*", "predictions*.piece*"):
        for left in glob.glob(os.path.join(glob.escape(output_dir), pattern)):
            os.remove(left)


def _refuse_others(output_dir: str, settings: dict[str, object]) -> None:
    """Raises ValueError for a directory with other predictions, or something else."""
    path = os.path.join(output_dir, SETTINGS_FILE)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            there = json.load(file)
        differing = [
            f"{name} was {there.get(name)!r}, now {settings.get(name)!r}"
            for name in {**there, **settings}
            if there.get(name) != settings.get(name)
        ]
        if differing:
            raise ValueError(
                f"--output_dir={output_dir} holds other predictions: {'; '.join(differing)}. Choose "
                "another directory, or remove this one"
            )
        return
    names = sorted(os.listdir(output_dir)) if os.path.isdir(output_dir) else []
    others = [name for name in names if name != files.LOCK and not name.startswith("settings.tmp")]
    if others:
        raise ValueError(
            f"--output_dir={output_dir} holds something else than predictions: {', '.join(others[:3])}. Choose another "
            "directory"
        )


def _write_summary(shards: Sequence[_Shard], settings, model: str, num_images: int, seconds: float) -> None:
    counts, errors = Counts(), []
    for shard in shards:
        with open(shard.path, encoding="utf-8") as file:
            for line in map(json.loads, file):
                counts.add(line)
                errors += [json.dumps(row) + "\n" for row in error_rows(line)]
    output_dir = os.path.dirname(shards[0].path)
    if errors:
        files.write_text(os.path.join(output_dir, ERRORS_FILE), "".join(errors))
    files.write_json(
        os.path.join(output_dir, SUMMARY_FILE),
        {
            **settings,
            f"{'saved_model' if loading.is_export(model) else 'model'}_path": os.path.abspath(model),
            **counts.as_dict(),
            "bytes": sum(os.path.getsize(shard.path) for shard in shards),
            "last_run": {
                "images": num_images,
                "seconds": round(seconds, 2),
                "images_per_second": round(num_images / seconds, 3) if num_images else None,
            },
        },
    )
