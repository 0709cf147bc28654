"""Optimizers, learning-rate schedules and the moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import tensorflow as tf
from official.modeling.optimization import lr_schedule

from dsg_tf import addons
from dsg_tf.config import Config
from dsg_tf.keras import keras

NO_WEIGHT_DECAY = ["bias", "gamma", "beta", "embeddings"]


def make_schedule(config: Config, total_steps: int):
    """Learning rate as a function of the step, or the rate itself where it is always the same.

    Halvings at equal distances or a cosine, after a linear warm-up.
    """
    if config.schedule == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(config.peak_learning_rate, max(total_steps, 1))
    elif config.num_halvings == 0:
        schedule = config.peak_learning_rate
    else:
        pieces = config.num_halvings + 1
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
            [total_steps * k // pieces for k in range(1, pieces)],
            [config.peak_learning_rate * 0.5**k for k in range(pieces)])
    if config.warmup_steps:
        return lr_schedule.LinearWarmup(schedule, warmup_learning_rate=0.0, warmup_steps=config.warmup_steps)
    return schedule


def make_optimizer(config: Config, schedule):
    """The optimizer that ``config.optimizer`` names.

    Raises:
      ValueError: it needs the extra [addons], which is not installed, or it has no weight decay.
    """
    rates = {"learning_rate": schedule, "weight_decay": config.weight_decay or None}
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=0.9, **rates)
    elif config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(learning_rate=schedule, weight_decay=config.weight_decay)
    elif config.optimizer == "rmsprop":
        optimizer = keras.optimizers.RMSprop(**rates)
    else:
        tfa = addons.load(f"--optimizer={config.optimizer}")
        if config.optimizer == "lamb":
            return tfa.optimizers.LAMB(learning_rate=schedule, weight_decay=config.weight_decay,
                                       exclude_from_weight_decay=NO_WEIGHT_DECAY)
        if config.weight_decay:  # Inside Lookahead it would take biases too, at a strength without the learning rate.
            raise ValueError(f"--weight_decay={config.weight_decay} does not go with --optimizer=lookahead")
        return tfa.optimizers.Lookahead(keras.optimizers.legacy.Adam(learning_rate=schedule))
    if config.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=NO_WEIGHT_DECAY)
    return optimizer


class MovingAverage(tf.Module):
    """Exponential moving average of variables, batch-norm statistics included.

    The decay warms up as min(decay, (1 + t) / (10 + t)), so that the initial weights are soon forgotten. (Keras's own
    average has no warm-up and leaves batch-norm statistics out; Model Garden's works with legacy optimizers only.)

    Args:
      variables: what to average; make this object in the scope of the strategy that made them.
      decay: in [0, 1).
    """

    def __init__(self, variables: Sequence[tf.Variable], decay: float):
        super().__init__()
        # Behind a function, so that checkpoints do not name the variables after this object instead of the model.
        self._variables = lambda: variables
        self.decay = decay
        self.averages = [tf.Variable(v, trainable=False, name="average") for v in variables]

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the variables; call after step ``step`` (from 1), outside `Strategy.run`."""
        step = tf.cast(step, tf.float32)
        rate = 1.0 - tf.minimum(self.decay, (1.0 + step) / (10.0 + step))
        for average, variable in zip(self.averages, self._variables()):
            value = tf.convert_to_tensor(variable)
            if value.dtype.is_floating:
                average.assign(average + tf.cast(rate, value.dtype) * (value - average))
            else:
                average.assign(value)

    def copy_to_variables(self) -> None:
        for average, variable in zip(self.averages, self._variables()):
            variable.assign(tf.convert_to_tensor(average))

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """The variables hold their averages inside the block, and their own values after it."""
        own = [tf.identity(v) for v in self._variables()]
        self.copy_to_variables()
        try:
            yield
        finally:
            for variable, value in zip(self._variables(), own):
                variable.assign(value)
