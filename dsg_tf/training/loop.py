"""The training loop under a distribution strategy: steps, checkpoints, resuming, TensorBoard."""

from __future__ import annotations

import math
import os
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from dsg_tf import build
from dsg_tf.config import Config
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo
from dsg_tf.model.moving_average import MovingAverage, named_variables
from dsg_tf.process import stopping
from dsg_tf.training import distribution, optimizers, start, tensorboard
from dsg_tf.training.gradients import Gradients
from dsg_tf.training.nonfinite import BadRows, NonFiniteError, some_of
from dsg_tf.training.progress_line import ProgressLine
from dsg_tf.training.saving import RunState
from dsg_tf.training.train_step import TrainStep


class Trainer:
    """Trains one model.

    Args:
      config: the settings.
      info: the prepared data set in `config.data_dir`.
      strategy: where to run.
      evaluate: called every `config.eval_steps` steps with (model, step), the averaged weights in place; returns
        scalars for TensorBoard and the progress line.
    """

    def __init__(
        self,
        config: Config,
        info: DatasetInfo,
        strategy: tf.distribute.Strategy,
        evaluate: Callable[..., dict[str, float]],
    ):
        self.config, self.info, self.strategy, self.evaluate = config, info, strategy, evaluate
        self.share = pipeline.Share()
        self.num_images = info.splits["train"].num_images
        self.total_steps = math.ceil(config.epochs * self.num_images / config.batch_size)
        devices = strategy.num_replicas_in_sync
        _check_divisible(config, devices)
        num_entities, num_relations = len(info.vocabulary.entities), len(info.vocabulary.relations)
        with strategy.scope():
            self.model = build.build_model(config, num_entities, num_relations)
            start.refuse_what_crashes(self.model, config)
            self.schedule = optimizers.make_schedule(
                config.schedule,
                config.peak_learning_rate,
                self.total_steps,
                num_halvings=config.num_halvings,
                warmup_steps=config.warmup_steps,
                halvings_at=[round(epoch * self.num_images / config.batch_size) for epoch in config.halving_epochs],
            )
            optimizer = optimizers.make_optimizer(
                config.optimizer,
                self.schedule,
                config.weight_decay,
                slow_variables=start.slow_variables(self.model, config),
                slow_rate=config.init_rate or 1.0,  # With 0 they do not train at all.
            )
            if hasattr(optimizer, "build"):  # Those of tensorflow-addons make their variables in the first step.
                optimizer.build(self.model.trainable_variables)
            start.initialize(self.model, config, info)
            self.average = None
            if config.ema_decay:
                self.average = MovingAverage(named_variables(self.model), config.ema_decay)
            step = tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.state = RunState(
            config.model_dir, strategy, model=self.model, optimizer=optimizer, step=step, average=self.average
        )
        losses = build.build_losses(config, num_relations)
        gradients = Gradients(
            self.model, losses, devices=devices, parts=config.accumulation, jit_compile=config.jit_compile
        )
        self.step = TrainStep(
            gradients, optimizer, strategy, clip_norm=config.clip_norm, after_update=self._after_update
        )
        self._bad_rows = BadRows(gradients, strategy)
        self._unchecked: tuple[int, dict, dict] | None = None

    def train(self) -> None:
        """Trains to the last step, from the last checkpoint in the model directory where there is one.

        Raises:
          NonFiniteError: names the loss term, the step and the images.
          stopping.Stopped: the process was asked to stop; there is a checkpoint of the last step it made.
          ValueError: there are checkpoints, but none that can be read.
          OSError: a checkpoint cannot be written.
        """
        first = self.state.restore()
        if first < self.total_steps:
            with stopping.postponed(until_agreed=distribution.num_workers(self.strategy) > 1):
                self._train_from(first)

    def _train_from(self, first: int) -> None:
        dataset = self.strategy.distribute_datasets_from_function(lambda context: self._batches(first, context))
        batches = tensorboard.Watched(iter(dataset), first)
        progress = ProgressLine(self.config.batch_size, self.total_steps, first)
        with self._writer().as_default():
            tensorboard.write_run(self.config, self.info, step=first)
            for step in range(first + 1, self.total_steps + 1):
                self._profile(step)
                batch = next(batches)
                scalars = self.step(batch)
                self._check_numbers()  # Of the step before, while a device works on this one.
                self._unchecked = step, batch, scalars
                if self._is_due(step, self.config.log_steps):
                    self._log({**self._check_numbers(), **batches.speed(step)}, step, progress)
                try:
                    self._save_and_evaluate(step)
                    self._check_stop()
                except stopping.Stopped as stopped:
                    self._save(step)
                    raise stopping.Stopped(f"at step {step}") from stopped

    def _writer(self) -> tf.summary.SummaryWriter:
        if distribution.is_chief(self.strategy):
            return tf.summary.create_file_writer(os.path.join(self.config.model_dir, "train"))
        return tf.summary.create_noop_writer()

    def _batches(self, first_step: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """This worker's share of the batches, a device at a time."""
        self.share = pipeline.Share(context.input_pipeline_id, context.num_input_pipelines)
        spec = build.batch_spec(self.config, self.info, "train", training=True)
        return pipeline.train_batches(
            self._shards(),
            spec,
            self.config.batch_size,
            self.config.seed,
            first_step,
            self.num_images,
            share=self.share,
            devices=context.num_replicas_in_sync // context.num_input_pipelines,
        )

    def _shards(self) -> list[str]:
        return self.info.shard_paths(self.config.data_dir, "train")

    def _after_update(self) -> None:
        self.state.step.assign_add(1)
        if self.average is not None:
            self.average.update(self.state.step)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self.total_steps

    def _check_numbers(self) -> dict[str, float]:
        """The scalars of the last step that was not looked at yet; waits for the device to have them.

        Raises:
          NonFiniteError: one of them is not finite; the step has not touched the weights.
        """
        if self._unchecked is None:
            return {}
        step, batch, scalars = self._unchecked
        self._unchecked = None
        values = {name: float(value) for name, value in scalars.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"step {step}: {name} is {value}, the other values are {values}. {self._culprits(batch, step)}. "
                    f"The update of that step was not made; {self.state.last_checkpoint()}."
                )
        return values

    def _culprits(self, batch, step: int) -> str:
        """Which images of a batch have values that are not finite by themselves; a worker knows of its own images."""
        ids = pipeline.training_ids(
            self._shards(), self.config.batch_size, self.config.seed, step - 1, self.num_images, self.share
        )
        found = [ids[row] for row in self._bad_rows(batch)]
        if not found:
            return f"No image of the batch has such a value by itself: {some_of(ids)}"
        if len(found) < len(ids):
            return f"It comes from {some_of(found)}: look at the annotations"
        return (
            f"Every image of the batch has such a value by itself: {some_of(ids)}. A smaller --learning_rate, more "
            "--warmup_steps or a smaller --clip_norm often helps"
        )

    def _check_stop(self) -> None:
        """Raises `stopping.Stopped` in all workers where one was asked to stop."""
        if any(distribution.of_all_workers(self.strategy, int(stopping.asked()))):
            raise stopping.Stopped

    def _log(self, scalars: dict[str, float], step: int, progress: ProgressLine) -> None:
        rate = self.schedule(step - 1) if callable(self.schedule) else self.schedule
        scalars = {**scalars, "optim/learning_rate": float(rate), "input/images_per_second": progress.rate(step)}
        for name, value in scalars.items():
            tf.summary.scalar(name, value, step=step)
        logging.info("%s", progress.line(step, scalars))

    def _save_and_evaluate(self, step: int) -> None:
        if self._is_due(step, self.config.checkpoint_steps):
            self._save(step)
        if self.config.eval_steps and step % self.config.eval_steps == 0 and step < self.total_steps:
            self.run_evaluation(step)

    def _save(self, step: int) -> None:
        self._check_numbers()
        self.state.save(step)

    def run_evaluation(self, step: int) -> None:
        """Evaluates the averaged weights, or the weights themselves without an average."""
        self._check_numbers()
        if self.average is None:
            scalars = self.evaluate(self.model, step)
        else:
            with self.strategy.scope(), self.average.swapped_in():
                scalars = self.evaluate(self.model, step)
        logging.info("step %d, validation: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in scalars.items()))

    def _profile(self, step: int) -> None:
        if not self.config.profile_steps:
            return
        first, last = self.config.profile_steps
        if step == first:
            tf.profiler.experimental.start(os.path.join(self.config.model_dir, "train"))
        elif step == min(last, self.total_steps):
            tf.profiler.experimental.stop()


def _check_divisible(config: Config, devices: int) -> None:
    if config.batch_size % (devices * config.accumulation):
        parts = f" times --accumulation={config.accumulation}" if config.accumulation > 1 else ""
        raise ValueError(
            f"--batch_size={config.batch_size} must be a multiple of the number of devices, {devices}{parts}"
        )
