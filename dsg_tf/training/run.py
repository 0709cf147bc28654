"""A whole run: data, training, evaluation. What train.py does, and `dsg_tf.compare` for each system and seed."""

from __future__ import annotations

import contextlib
import dataclasses
import os

import tensorflow as tf
from absl import logging

from dsg_tf import build, checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data import integrity
from dsg_tf.data.prepare import downloads, synthetic
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import query_results, scoring
from dsg_tf.process import files
from dsg_tf.training import distribution, loop
from dsg_tf.training.validation import Validation

SYNTHETIC_SPLITS = ("train", "val", "test")


def train_and_evaluate(config: config_lib.Config) -> str:
    """Trains to the end, from the last checkpoint where there is one; evaluates the other splits; returns the table.

    Raises:
      ValueError: the settings, the data or the model directory do not allow it, or another process trains there.
    """
    strategy = distribution.make_strategy(config.strategy, config.tpu)
    chief = distribution.is_chief(strategy)
    with files.held(config.model_dir) if chief else contextlib.nullcontext():
        if not chief:
            distribution.wait_for_all(strategy)
        info = load_data(config)  # On a disk that the workers share, the first one has rendered what is to be rendered.
        if chief:
            distribution.wait_for_all(strategy)
        with integrity.naming_broken_shards(info, config.data_dir):
            return _train_and_evaluate(config, info, strategy)


def _train_and_evaluate(config: config_lib.Config, info: DatasetInfo, strategy: tf.distribute.Strategy) -> str:
    # On GPUs the gradient of crop_and_resize has no deterministic form.
    if config.roi_op != "crop_and_resize" or not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
    check_same_run(config, info)
    chief = distribution.is_chief(strategy)
    trainer = loop.Trainer(config, info, strategy, Validation(config, info, chief))
    if chief:
        config_lib.save(config, config.model_dir)
        checkpoints.save_vocabulary(config.model_dir, info.vocabulary)
    parameters = build.count_parameters(trainer.model)
    logging.info("parameters: %s", ", ".join(f"{name} {count:,}" for name, count in parameters.items()))
    trainer.train()
    table = final_evaluation(config, info) if chief else "trained; the first worker evaluates"
    distribution.wait_for_all(strategy)  # A worker that ends is a fault to those that have not.
    return table


def load_data(config: config_lib.Config) -> DatasetInfo:
    """Reads the data set's description; renders the synthetic set first where it is not there.

    Raises:
      ValueError: there is no data; says what to download, where to put it and what to run. Or a file of it is missing
        or has another size than was written.
    """
    if config.dataset == "synthetic":
        for split, count in zip(SYNTHETIC_SPLITS, config.synthetic_images):
            synthetic.prepare_synthetic(config.data_dir, split, count)
    elif not os.path.exists(os.path.join(config.data_dir, "dataset_info.json")):
        if not config.dataset:
            raise ValueError(
                f"--data_dir={config.data_dir} has no prepared data: write it with "
                f"python -m dsg_tf.data.prepare --output_dir={config.data_dir}"
            )
        raise ValueError(downloads.missing_data_message(config.dataset, config.data_dir))
    info = DatasetInfo.load(config.data_dir)
    if "train" not in info.splits:
        raise ValueError(f"--data_dir={config.data_dir} has no split 'train', only {', '.join(info.splits) or 'none'}")
    integrity.check_shards(info, config.data_dir)
    return info


def check_same_run(config: config_lib.Config, info: DatasetInfo) -> None:
    """Refuses to go on with other settings than the run in the model directory began with.

    Raises:
      ValueError: names the settings that differ.
    """
    if config_lib.is_packed(config.model_dir):
        raise ValueError(
            f"--model_dir={config.model_dir} holds a model in half precision, which does not train on; start another "
            f"from it: --init_checkpoint={config.model_dir}"
        )
    if not os.path.exists(os.path.join(config.model_dir, config_lib.CONFIG_FILE)):
        return
    before = config_lib.load(config.model_dir)
    differing = [
        f"--{field.name} was {getattr(before, field.name)}, now {getattr(config, field.name)}"
        for field in dataclasses.fields(config)
        if not field.metadata["may_change"] and getattr(before, field.name) != getattr(config, field.name)
    ]
    if differing:
        raise ValueError(
            f"--model_dir={config.model_dir} holds a run with other settings: {'; '.join(differing)}. "
            "Choose another --model_dir, or remove this one."
        )
    if checkpoints.load_vocabulary(config.model_dir) != info.vocabulary:
        raise ValueError(
            f"--model_dir={config.model_dir} holds a run with another vocabulary than --data_dir={config.data_dir}"
        )


def final_evaluation(config: config_lib.Config, info: DatasetInfo) -> str:
    """Evaluates the last checkpoint on the validation and test splits; returns the table."""
    model, _, _, step = checkpoints.load_model(config.model_dir)
    summaries = []
    for split in ("val", "test"):
        if split in info.splits:
            summaries.append(scoring.evaluate_split(model, config, info, split, step))
    return query_results.table(summaries)
