"""The checkpoints of a run: the state that it goes on from, written whole and read back."""

from __future__ import annotations

import tempfile

import tensorflow as tf
from absl import logging

from dsg_tf import checkpoints
from dsg_tf.training import distribution
from dsg_tf.training.nonfinite import NonFiniteError, some_of


class RunState:
    """Model, optimizer, step and average of a run, and their checkpoints in its model directory.

    Args:
      model_dir: of the run.
      strategy: the workers save together, since they have statistics to reduce; what the others write is not kept.
      model, optimizer, step: what is saved.
      average: `MovingAverage` of the weights, or None.
    """

    def __init__(
        self, model_dir: str, strategy: tf.distribute.Strategy, *, model, optimizer, step: tf.Variable, average=None
    ):
        self.model_dir, self.strategy = model_dir, strategy
        self.model, self.optimizer, self.step, self.average = model, optimizer, step, average
        self._checkpoint = self._with(average)
        self._directory = checkpoints.checkpoint_dir(model_dir)
        if distribution.is_chief(strategy):
            checkpoints.remove_unfinished(self._directory)
        else:
            self._not_kept = tempfile.TemporaryDirectory()
            self._directory = self._not_kept.name
        self._manager = tf.train.CheckpointManager(self._checkpoint, self._directory, max_to_keep=2)

    def restore(self) -> int:
        """Reads the last checkpoint, where there is one; returns its step.

        Raises:
          ValueError: there are checkpoints, but none that can be read; or the workers have different directories.
        """
        distribution.wait_for_all(self.strategy)  # The first one has tidied the directory.
        saved = checkpoints.newest(checkpoints.checkpoint_dir(self.model_dir))
        if saved is not None:
            stored = [name for name, _ in tf.train.list_variables(saved)]
            average = None if self.average is None else self.average.as_stored(stored)
            found = self._checkpoint if average is self.average else self._with(average)
            found.restore(saved).assert_existing_objects_matched()
            logging.info("resuming after step %d from %s", int(self.step.numpy()), saved)
        step = int(self.step.numpy())
        steps = distribution.of_all_workers(self.strategy, step)
        if len(set(steps)) > 1:
            raise ValueError(
                f"--model_dir={self.model_dir} is not the same for all workers: the steps of their last "
                f"checkpoints are {', '.join(map(str, steps))}"
            )
        return step

    def _with(self, average) -> tf.train.Checkpoint:
        items = {"model": self.model, "optimizer": self.optimizer, "step": self.step}
        return tf.train.Checkpoint(**items, **({} if average is None else {"average": average}))

    def save(self, step: int) -> None:
        """Writes a checkpoint; keeps the one before it.

        Raises:
          NonFiniteError: a weight is not finite: a run could not go on from there.
          OSError: it cannot be written, because the disk is full for example.
        """
        variables = [*self.model.variables, *(self.average.averages if self.average is not None else ())]
        bad = [v.name for v in variables if v.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(v))]
        if bad:
            raise NonFiniteError(
                f"step {step}: the update made {some_of(bad)} not finite; this is not saved, {self.last_checkpoint()}."
            )
        try:
            self._manager.save(checkpoint_number=step)
        except tf.errors.OpError as error:
            checkpoints.remove_unfinished(self._directory)
            raise OSError(
                f"the checkpoint of step {step} cannot be written, {self.last_checkpoint()}: {error.message}"
            ) from error

    def last_checkpoint(self) -> str:
        """What there is to go on from, for messages."""
        last = self._manager.latest_checkpoint
        return f"the last checkpoint is {last}" if last else "there is no checkpoint yet"
