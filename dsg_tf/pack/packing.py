"""Writes the directory of a packed model, and scores it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import scoring
from dsg_tf.model import calibration
from dsg_tf.pack import card, half_precision
from dsg_tf.process import files
from dsg_tf.words import aliases

CARD_FILE = "CARD.md"


def pack(
    model_dir: str, output_dir: str, texts: Mapping[str, Any], *, splits: Sequence[str] = (), data_dir: str = ""
) -> None:
    """Packs the model that `checkpoints.load_model` finds in `model_dir`.

    Args:
      model_dir: of training.
      output_dir: is not there yet, and is there whole afterwards, or not at all.
      texts: what the card says and no file knows, see `card.text`.
      splits, data_dir: what the rounded model is scored on; `model_dir` has been evaluated on the same.

    Raises:
      FileNotFoundError: no trained model or no `eval_<split>.json` in `model_dir`.
      ValueError: that evaluation was of another step, or the data has another vocabulary or none of the splits.
    """
    model, config, vocabulary, step = checkpoints.load_model(model_dir)
    info = DatasetInfo.load(data_dir) if splits else DatasetInfo(vocabulary, {})
    if info.vocabulary != vocabulary:
        raise ValueError(f"--data_dir={data_dir} has another vocabulary than the model in --model_dir={model_dir}")
    before = {split: _evaluation(model_dir, split, step) for split in splits}
    temporary = f"{os.path.normpath(output_dir)}.writing-{os.getpid()}"
    try:
        os.makedirs(temporary)
        # Where data and runs lie on this machine says nothing on another.
        paths = {name: "" for name in ("data_dir", "init_checkpoint") if os.path.isabs(getattr(config, name))}
        config_lib.save(dataclasses.replace(config, model_dir="", **paths), temporary)
        checkpoints.save_vocabulary(temporary, vocabulary)
        aliases.copy(config_lib.find(model_dir), temporary)
        found = os.path.join(config_lib.find(model_dir), calibration.FILE)
        if os.path.exists(found):
            shutil.copy(found, temporary)
        _write_weights(model, step, os.path.join(temporary, config_lib.WEIGHTS))
        after = {split: _score(temporary, info, split, data_dir) for split in splits}
        for split in splits:
            if after[split]["num_queries"] != before[split]["num_queries"]:
                raise ValueError(
                    f"eval_{split}.json of --model_dir={model_dir} is about {before[split]['num_queries']} queries, "
                    f"--data_dir={data_dir} has {after[split]['num_queries']}: they are of two data sets"
                )
        facts = {
            "name": os.path.basename(os.path.normpath(output_dir)),
            "system": config.model,
            "parameters": build.count_parameters(model)["total"],
            "step": step,
            "input": config.image_size,
            "vocabulary": vocabulary,
            "bytes": sum(entry.stat().st_size for entry in os.scandir(temporary)),
        }
        files.write_text(os.path.join(temporary, CARD_FILE), card.text(facts, texts, before, after))
        os.rename(temporary, output_dir)
    finally:
        if os.path.exists(temporary):
            shutil.rmtree(temporary)


def _evaluation(model_dir: str, split: str, step: int) -> dict[str, Any]:
    """What eval.py found of the weights that are packed."""
    path = os.path.join(model_dir, f"eval_{split}.json")
    again = f"run python eval.py --model_dir={model_dir} --split={split}"
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is not there: {again}")
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    if found["step"] != step:
        raise ValueError(f"{path} is of step {found['step']}, the last checkpoint of step {step}: {again}")
    return found


def _write_weights(model, step: int, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        whole = tf.train.Checkpoint(model=model, step=tf.Variable(step, dtype=tf.int64))
        half_precision.write(whole.write(os.path.join(directory, "whole")), prefix)


def _score(model_dir: str, info: DatasetInfo, split: str, data_dir: str) -> dict[str, Any]:
    model, config, *_ = checkpoints.load_model(model_dir)
    spec = build.batch_spec(config, info, split, training=False)
    return scoring.evaluate(model, info.shard_paths(data_dir, split), spec, config.eval_batch_size).summary()
