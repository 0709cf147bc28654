"""The settings of a run as `config.json`, beside its checkpoints."""

from __future__ import annotations

import dataclasses
import json
import os

from dsg_tf.config import model_dirs
from dsg_tf.config.settings import Config, typed
from dsg_tf.process import files

CONFIG_FILE = "config.json"


def save(config: Config, model_dir: str) -> None:
    files.write_json(os.path.join(model_dir, CONFIG_FILE), dataclasses.asdict(config))


def load(model_dir: str) -> Config:
    """Reads the settings that `save` wrote beside a checkpoint.

    `models/NAME` is also that of the program, see `model_dirs.find`.

    Settings that are younger than the file have their defaults: what the program did before it had them.

    Raises:
      FileNotFoundError: `model_dir` holds no trained model.
      ValueError: the file has settings this version does not know.
    """
    path = os.path.join(model_dirs.find(model_dir), CONFIG_FILE)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist: --model_dir={model_dir} holds no model trained by train.py")
    with open(path, encoding="utf-8") as file:
        values = json.load(file)
    unknown = sorted(set(values) - {field.name for field in dataclasses.fields(Config)})
    if unknown:
        raise ValueError(f"{path} was written by another version: unknown settings {', '.join(unknown)}")
    return typed(values)
