"""The moving average of a model's weights, which is what is evaluated and exported."""

from __future__ import annotations

import collections
import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

import tensorflow as tf

_BY_ORDER = re.compile(r"average/averages/\d+/")


def named_variables(model: tf.Module) -> dict[str, tf.Variable]:
    """A model's variables in its order, by the names that they have in a checkpoint of it."""
    view, path_of, waiting = tf.train.TrackableView(model), {id(model): ""}, collections.deque([model])
    while waiting:  # The shortest path to each, as TensorFlow names them.
        parent = waiting.popleft()
        for name, child in view.children(parent).items():
            if id(child) not in path_of:
                path_of[id(child)] = f"{path_of[id(parent)]}/{name}".lstrip("/")
                waiting.append(child)
    return {path_of[id(variable)]: variable for variable in model.variables}


class MovingAverage(tf.Module):
    """Exponential moving average of variables, batch-norm statistics included.

    The decay warms up as min(decay, (1 + t) / (10 + t)), so that the initial weights are soon forgotten. (Keras's own
    average has no warm-up and leaves batch-norm statistics out; Model Garden's works with legacy optimizers only.)

    Args:
      variables: what to average, by the names that checkpoints know the averages by; make this object in the scope of
        the strategy that made them.
      decay: in [0, 1).
    """

    def __init__(self, variables: Mapping[str, tf.Variable], decay: float):
        super().__init__()
        # Behind a function, so that checkpoints do not name the variables after this object instead of the model.
        self._variables = lambda: variables.values()
        self.decay = decay
        self.by_name = {name: tf.Variable(v, trainable=False, name="average") for name, v in variables.items()}

    @property
    def averages(self) -> list[tf.Variable]:
        """In the order of the variables."""
        return list(self.by_name.values())

    def as_stored(self, names: Iterable[str]):
        """What to read as the `average` of a checkpoint with these `names`.

        Those of version 0.2 and before know averages by their order: a model whose layers are made in another order
        cannot tell that it reads wrong ones.
        """
        if any(map(_BY_ORDER.match, names)):
            return tf.train.Checkpoint(averages=self.averages)
        return self

    def update(self, step: tf.Tensor) -> None:
        """Moves the averages towards the variables; call after step `step` (from 1), outside `Strategy.run`."""
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
