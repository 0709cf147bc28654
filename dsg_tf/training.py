"""Training under a distribution strategy: steps, checkpoints, resuming, TensorBoard.

A step is two compiled functions: one computes the loss terms and the gradient, one applies it. Between them the host
looks at the numbers, so that a term that is not finite stops the run before it touches a weight.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable

import tensorflow as tf
from absl import logging

from dsg_tf import board, build, checkpoints, distribution, gradients, optimizers, stopping
from dsg_tf.config import Config
from dsg_tf.data import pipeline
from dsg_tf.data.records import DatasetInfo


_NAMES_LISTED = 10


class NonFiniteError(RuntimeError):
    """A loss term, the gradient or a weight is not finite. Nothing of it is in a checkpoint."""


class Trainer:
    """Trains one model.

    Args:
      config: the settings.
      info: the prepared data set in ``config.data_dir``.
      strategy: where to run.
      evaluate: called every ``config.eval_steps`` steps with (model, step), the averaged weights in place; returns
        scalars for TensorBoard and the progress line.
    """

    def __init__(self, config: Config, info: DatasetInfo, strategy: tf.distribute.Strategy,
                 evaluate: Callable[..., dict[str, float]]):
        self.config, self.info, self.strategy, self.evaluate = config, info, strategy, evaluate
        self._worker = (0, 1)  # Number, of how many.
        devices = strategy.num_replicas_in_sync
        if config.batch_size % (devices * config.accumulation):
            parts = f" times --accumulation={config.accumulation}" if config.accumulation > 1 else ""
            raise ValueError(f"--batch_size={config.batch_size} must be a multiple of the number of devices, {devices}"
                             f"{parts}")
        self.num_images = info.splits["train"].num_images
        self.total_steps = math.ceil(config.epochs * self.num_images / config.batch_size)
        vocabulary = info.vocabulary
        with strategy.scope():
            self.model = build.build_model(config, len(vocabulary.entities), len(vocabulary.relations))
            self.schedule = optimizers.make_schedule(config, self.total_steps)
            self.optimizer = optimizers.make_optimizer(config, self.schedule)
            if hasattr(self.optimizer, "build"):  # Those of tensorflow-addons make their variables in the first step.
                self.optimizer.build(self.model.trainable_variables)
            if config.init_checkpoint:
                checkpoints.initialize(self.model, config.init_checkpoint, config.init_modules)
            build.measure(self.model, config, info)
            self.average = (optimizers.MovingAverage(self.model.variables, config.ema_decay)
                            if config.ema_decay else None)
            self.step = tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.compute = gradients.Gradients(
            self.model, build.build_losses(config, self.model, len(vocabulary.relations)), strategy,
            clip_norm=config.clip_norm, parts=config.accumulation, jit_compile=config.jit_compile)
        items = {"model": self.model, "optimizer": self.optimizer, "step": self.step}
        if self.average is not None:
            items["average"] = self.average
        self.checkpoint = tf.train.Checkpoint(**items)
        self.manager = self._make_manager()

    def train(self) -> None:
        """Trains to the last step, from the last checkpoint in the model directory where there is one.

        Raises:
          NonFiniteError: names the loss term, the step and the images.
          stopping.Stopped: the process was asked to stop; there is a checkpoint of the last step it made.
          ValueError: there are checkpoints, but none that can be read.
          OSError: a checkpoint cannot be written.
        """
        first = self._restore()
        if first < self.total_steps:
            with stopping.postponed(until_agreed=distribution.num_workers(self.strategy) > 1):
                self._train_from(first)

    def _restore(self) -> int:
        """Reads the last checkpoint, where there is one; returns its step."""
        distribution.of_all_workers(self.strategy, 0)  # The first one has tidied the directory.
        saved = checkpoints.newest(checkpoints.checkpoint_dir(self.config.model_dir))
        if saved is not None:
            self.checkpoint.restore(saved).assert_existing_objects_matched()
            logging.info("resuming after step %d from %s", int(self.step.numpy()), saved)
        step = int(self.step.numpy())
        steps = distribution.of_all_workers(self.strategy, step)
        if len(set(steps)) > 1:
            raise ValueError(f"--model_dir={self.config.model_dir} is not the same for all workers: the steps of their "
                             f"last checkpoints are {', '.join(map(str, steps))}")
        return step

    def _make_manager(self) -> tf.train.CheckpointManager:
        directory = checkpoints.checkpoint_dir(self.config.model_dir)
        if distribution.is_chief(self.strategy):
            checkpoints.remove_unfinished(directory)
        else:  # The workers save together, since they have statistics to reduce; what the others write is not kept.
            self._not_kept = tempfile.TemporaryDirectory()
            directory = self._not_kept.name
        return tf.train.CheckpointManager(self.checkpoint, directory, max_to_keep=2)

    def _train_from(self, first: int) -> None:
        dataset = self.strategy.distribute_datasets_from_function(lambda context: self._batches(first, context))
        batches = board.Watched(iter(dataset), first)
        writer = (tf.summary.create_file_writer(os.path.join(self.config.model_dir, "train"))
                  if distribution.is_chief(self.strategy) else tf.summary.create_noop_writer())
        progress = _Progress(self.config.batch_size, self.total_steps, first)
        with writer.as_default():
            board.write_run(self.config, self.info, step=first)
            for step in range(first + 1, self.total_steps + 1):
                self._profile(step)
                scalars = self._checked_step(next(batches), step)
                if step % self.config.log_steps == 0 or step == self.total_steps:
                    self._log({**scalars, **batches.speed(step)}, step, progress)
                try:
                    self._after_step(step)
                    self._check_stop()
                except stopping.Stopped as stopped:
                    self._save(step)
                    raise stopping.Stopped(f"at step {step}") from stopped

    def _check_stop(self) -> None:
        """Raises `stopping.Stopped` in all workers where one was asked to stop."""
        if any(distribution.of_all_workers(self.strategy, int(stopping.asked()))):
            raise stopping.Stopped

    def _batches(self, first_step: int, context: tf.distribute.InputContext) -> tf.data.Dataset:
        """This worker's share of the batches, a device at a time."""
        self._worker = (context.input_pipeline_id, context.num_input_pipelines)
        spec = build.input_spec(self.config, self.info, "train", training=True)
        shards = self.info.shard_paths(self.config.data_dir, "train")
        return pipeline.train_batches(shards, spec, self.config.batch_size, self.config.seed, first_step,
                                      self.num_images, worker=self._worker,
                                      devices=context.num_replicas_in_sync // context.num_input_pipelines)

    def _checked_step(self, batch, step: int) -> dict[str, float]:
        """One step: gradients, check, update."""
        summed, scalars = self.compute(batch)
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"step {step}: {name} is {value}, the other values are {scalars}. {self._culprits(batch, step)}. "
                    f"The weights are still those of step {step - 1}; {self._last_checkpoint()}.")
        self.apply(summed)
        return scalars

    def _culprits(self, batch, step: int) -> str:
        """Which images of a batch have values that are not finite by themselves; a worker knows of its own images."""
        shards = self.info.shard_paths(self.config.data_dir, "train")
        ids = pipeline.training_ids(shards, self.config.batch_size, self.config.seed, step - 1, self.num_images,
                                    self._worker)
        found = [ids[row] for row in self.compute.bad_rows(batch)]
        if not found:
            return f"No image of the batch has such a value by itself: {_names(ids)}"
        if len(found) < len(ids):
            return f"It comes from {_names(found)}: look at the annotations"
        return (f"Every image of the batch has such a value by itself: {_names(ids)}. A smaller --learning_rate, more "
                "--warmup_steps or a smaller --clip_norm often helps")

    def _last_checkpoint(self) -> str:
        last = self.manager.latest_checkpoint
        return f"the last checkpoint is {last}" if last else "there is no checkpoint yet"

    @tf.function
    def apply(self, summed):
        """Updates the weights with the gradients that `compute` returned, and their average."""
        def update(summed):
            pairs = list(zip(summed, self.model.trainable_variables))
            # The only name of this argument that tensorflow-addons' optimizers know too.
            self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)

        self.strategy.run(update, args=(summed,))
        self.step.assign_add(1)
        if self.average is not None:
            self.average.update(self.step)

    def _log(self, scalars, step, progress):
        rate = self.schedule(step - 1) if callable(self.schedule) else self.schedule
        scalars = {**scalars, "optim/learning_rate": float(rate), "input/images_per_second": progress.rate(step)}
        for name, value in scalars.items():
            tf.summary.scalar(name, value, step=step)
        logging.info("%s", progress.line(step, scalars))

    def _after_step(self, step: int) -> None:
        last = step == self.total_steps
        if step % self.config.checkpoint_steps == 0 or last:
            self._save(step)
        if self.config.eval_steps and step % self.config.eval_steps == 0 and not last:
            self.run_evaluation(step)

    def _save(self, step: int) -> None:
        """Writes a checkpoint; keeps the one before it.

        Raises:
          NonFiniteError: a weight is not finite: a run could not go on from there.
          OSError: it cannot be written, because the disk is full for example.
        """
        variables = [*self.model.variables, *(self.average.averages if self.average is not None else ())]
        bad = [v.name for v in variables if v.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(v))]
        if bad:
            raise NonFiniteError(f"step {step}: the update made {_names(bad)} not finite; this is not saved, "
                                 f"{self._last_checkpoint()}.")
        try:
            self.manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            checkpoints.remove_unfinished(self.manager.directory)
            raise OSError(f"the checkpoint of step {step} cannot be written, {self._last_checkpoint()}: "
                          f"{error.message}") from error

    def run_evaluation(self, step: int) -> None:
        """Evaluates the averaged weights, or the weights themselves without an average."""
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


class _Progress:
    """The line that tells how far training is, how fast, and when it ends."""

    def __init__(self, batch_size: int, total_steps: int, first_step: int):
        self._batch_size, self._total = batch_size, total_steps
        self._last_step, self._last_time = first_step, time.monotonic()
        self._rate = 0.0

    def rate(self, step: int) -> float:
        """Images per second since the last call."""
        now = time.monotonic()
        steps = step - self._last_step
        if steps:
            self._rate = steps * self._batch_size / (now - self._last_time)
        self._last_step, self._last_time = step, now
        return self._rate

    def line(self, step: int, scalars: dict[str, float]) -> str:
        seconds = (self._total - step) * self._batch_size / self._rate
        terms = " ".join(f"{name.split('/')[1]} {value:.3f}" for name, value in scalars.items()
                         if name.startswith(("loss/", "metric/")))
        left = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.1f} min"
        return f"step {step}/{self._total}  {terms}  {self._rate:.1f} images/s, {left} left"


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_LISTED} more" if len(names) > _NAMES_LISTED else ""
    return ", ".join(names[:_NAMES_LISTED]) + more
