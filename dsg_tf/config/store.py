"""The settings of a run as `config.json`, beside its checkpoints."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from absl import logging

from dsg_tf.config import model_dirs
from dsg_tf.config.settings import Config, typed
from dsg_tf.process import files

CONFIG_FILE = "config.json"
# Values that meant something else up to version 0.2, by setting: the value then, and what means the same today.
RENAMED = (("model", "no_dsg", "no_dsg_br"), ("batch_norm", "frozen", "frozen_all"))


def save(config: Config, model_dir: str) -> None:
    files.write_json(os.path.join(model_dir, CONFIG_FILE), dataclasses.asdict(config))


def load(model_dir: str) -> Config:
    """Reads the settings that `save` wrote beside a checkpoint.

    `models/NAME` is also that of the program, see `model_dirs.find`. Settings that are younger than the file have the
    values of what the program did before it had them.

    Raises:
      FileNotFoundError: `model_dir` holds no trained model.
      ValueError: the file has settings this version does not know.
    """
    path = os.path.join(model_dirs.find(model_dir), CONFIG_FILE)
    if not os.path.exists(path):
        if model_dirs.is_packed(os.path.dirname(path)):
            raise FileNotFoundError(
                f"{path} does not exist: --model_dir={model_dir} holds only weights to start a training from "
                f"(--init_checkpoint={model_dir}), not a whole model"
            )
        raise FileNotFoundError(f"{path} does not exist: --model_dir={model_dir} holds no model trained by train.py")
    with open(path, encoding="utf-8") as file:
        values = json.load(file)
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(Config)})
    if unknown:
        raise ValueError(f"{path} was written by another version: unknown settings {', '.join(unknown)}")
    return typed(_in_words_of_today(values, path))


def _in_words_of_today(values: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Settings of an older version, with those it did not have, and under the names that their meaning has now."""
    fields = {field.name: field for field in dataclasses.fields(Config)}
    missing = {name: field.metadata["before"] for name, field in fields.items() if name not in values}
    result = {**values, **missing}
    if "loss_scale" in missing:  # Up to version 0.2.
        for name, then, now in RENAMED:
            if values.get(name) == then:
                logging.info("%s: --%s=%s of an older version is --%s=%s today", path, name, then, name, now)
                result[name] = now
    return result
