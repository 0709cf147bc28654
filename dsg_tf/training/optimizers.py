"""Optimizers and learning-rate schedules."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from official.modeling.optimization import lr_schedule

from dsg_tf.keras import keras, load_addons

NO_WEIGHT_DECAY = ["bias", "gamma", "beta", "embeddings"]


def make_schedule(
    kind: str, peak: float, total_steps: int, *, num_halvings: int, warmup_steps: int, halvings_at: Sequence[int] = ()
):
    """Learning rate as a function of the step, or the rate itself where it is always the same.

    Args:
      kind: "stepwise", halvings, or "cosine", to zero; both after a linear warm-up.
      peak: the largest rate.
      total_steps: of the training.
      num_halvings: of the stepwise schedule, at equal distances.
      warmup_steps: of the warm-up; 0: none.
      halvings_at: steps of the halvings, in place of those at equal distances.
    """
    if kind == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(peak, max(total_steps, 1))
    else:
        steps = list(halvings_at) or [total_steps * k // (num_halvings + 1) for k in range(1, num_halvings + 1)]
        rates = [peak * 0.5**k for k in range(len(steps) + 1)]
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay(steps, rates) if steps else peak
    if warmup_steps:
        return lr_schedule.LinearWarmup(schedule, warmup_learning_rate=0.0, warmup_steps=warmup_steps)
    return schedule


def make_optimizer(name: str, schedule, weight_decay: float = 0.0, slow_variables=(), slow_rate: float = 1.0):
    """An optimizer by name.

    Args:
      name: "sgd" (momentum 0.9), "adamw", "rmsprop"; "lamb" or "lookahead" (over Adam) of the extra [addons].
      schedule: of `make_schedule`.
      weight_decay: decoupled; of kernels only.
      slow_variables: those that move by `slow_rate` of what the others would.

    Raises:
      ValueError: it needs the extra [addons], which is not installed, or it has no weight decay or slow variables.
    """
    if name in ("lamb", "lookahead"):
        if slow_rate != 1:
            raise ValueError(f"--init_rate={slow_rate} does not go with --optimizer={name}, which has one rate")
        return _make_addon(name, schedule, weight_decay)
    kind = {"sgd": keras.optimizers.SGD, "rmsprop": keras.optimizers.RMSprop, "adamw": keras.optimizers.AdamW}[name]
    if slow_rate != 1:
        kind = _slowed(kind, slow_variables, slow_rate)
    settings = {"momentum": 0.9} if name == "sgd" else {}
    optimizer = kind(schedule, weight_decay=weight_decay if name == "adamw" else weight_decay or None, **settings)
    if weight_decay:
        optimizer.exclude_from_weight_decay(var_names=NO_WEIGHT_DECAY)
    return optimizer


def _slowed(kind: type, variables, rate: float) -> type:
    """An optimizer whose steps are shorter for some variables; a smaller gradient would not do that under Adam."""

    class Slowed(kind):
        def update_step(self, gradient, variable):
            is_slow = self._var_key(variable) in {self._var_key(slow) for slow in variables}
            before = tf.identity(variable) if is_slow else None
            super().update_step(gradient, variable)
            if is_slow:
                variable.assign(before + rate * (variable - before))

    return Slowed


def _make_addon(name: str, schedule, weight_decay: float):
    tfa = load_addons(f"--optimizer={name}")
    if name == "lamb":
        return tfa.optimizers.LAMB(
            learning_rate=schedule, weight_decay=weight_decay, exclude_from_weight_decay=NO_WEIGHT_DECAY
        )
    if weight_decay:  # Inside Lookahead it would take biases too, at a strength without the learning rate.
        raise ValueError(f"--weight_decay={weight_decay} does not go with --optimizer=lookahead")
    return tfa.optimizers.Lookahead(keras.optimizers.legacy.Adam(learning_rate=schedule))
