"""One step: what it applies, what it leaves alone where a number is bad, on one device and on two."""

from __future__ import annotations

import types

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf.model.moving_average import MovingAverage
from dsg_tf.training import optimizers
from dsg_tf.training.train_step import TrainStep

STARTS, NAMES = ([1.0, -2.0], [[3.0]]), ("layer0", "layer1")


class Products:
    """Stands for `Gradients`: that of the sum of `batch["factor"] * variable`, with numbers to look at."""

    def __init__(self, variables):
        self.model = types.SimpleNamespace(trainable_variables=variables)

    def __call__(self, batch):
        factor = tf.reduce_sum(batch["factor"])
        scalars = {"loss/total": tf.stack([tf.reduce_sum(batch["loss"]), tf.cast(tf.size(batch["loss"]), tf.float32)])}
        return [factor * tf.ones_like(variable) for variable in self.model.trainable_variables], scalars


class Training:
    """Two variables with all that belongs to a step: `values` is everything that an update changes."""

    def __init__(self, strategy, clip_norm=0.0, **changes):
        self.strategy = strategy
        with strategy.scope():
            self.variables = [tf.Variable(start, name=f"layer{k}/kernel") for k, start in enumerate(STARTS)]
            config = tiny.config(**changes)
            self.optimizer = optimizers.make_optimizer(config.optimizer, 0.1, config.weight_decay)
            self.optimizer.build(self.variables)
            self.average = MovingAverage(dict(zip(NAMES, self.variables)), 0.5)
            self.count = tf.Variable(0, dtype=tf.int64, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        self.step = TrainStep(
            Products(self.variables), self.optimizer, strategy, clip_norm=clip_norm, after_update=self._after_update
        )

    def _after_update(self):
        self.count.assign_add(1)
        self.average.update(self.count)

    def batch(self, factors, losses):
        """A value each for every device."""
        rows = {"factor": np.array(factors, np.float32), "loss": np.array(losses, np.float32)}
        devices = self.strategy.num_replicas_in_sync
        parts = [
            {name: tf.constant(part) for name, part in zip(rows, pair)}
            for pair in zip(*(np.split(value, devices) for value in rows.values()))
        ]
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    @property
    def values(self):
        """By device."""
        variables = [*self.variables, *self.optimizer.variables, *self.average.averages, self.count]
        return [[copy.numpy() for copy in self.strategy.experimental_local_results(v)] for v in variables]


@pytest.fixture(params=["one device", "two devices"])
def strategy(request, two_devices):
    return two_devices if request.param == "two devices" else tf.distribute.MirroredStrategy(["/cpu:0"])


def assert_same(found, expected):
    for own, others in zip(found, expected):
        np.testing.assert_array_equal(own, others)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "rmsprop"])
def test_an_update_is_that_of_the_gradient_summed_over_the_devices(optimizer, strategy):
    training = Training(strategy, optimizer=optimizer, weight_decay=0.25)
    plain = [tf.Variable(start, name=f"layer{k}/kernel") for k, start in enumerate(STARTS)]
    reference = optimizers.make_optimizer(optimizer, 0.1, 0.25)
    reference.build(plain)
    average = MovingAverage(dict(zip(NAMES, plain)), 0.5)
    for number, (factors, losses) in enumerate([([0.5, 1.0], [1.0, 2.0]), ([-2.0, 0.25], [4.0, 5.0])], start=1):
        scalars = training.step(training.batch(factors, losses))
        reference.apply_gradients([(sum(factors) * tf.ones_like(v), v) for v in plain])
        average.update(number)
        # 3 numbers in the variables.
        expected = {"loss/total": np.mean(losses), "optim/gradient_norm": abs(sum(factors)) * np.sqrt(3)}
        assert {name: float(value) for name, value in scalars.items()} == pytest.approx(expected)
    expected = [*plain, *reference.variables, *average.averages, tf.constant(2)]
    for copies, value in zip(training.values, expected):
        for copy in copies:
            np.testing.assert_allclose(copy, value.numpy(), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "factors, losses, bad",
    [
        ([1.0, 2.0], [1.0, np.nan], "loss/total"),
        ([1.0, 2.0], [-np.inf, 1.0], "loss/total"),
        ([np.nan, 2.0], [1.0, 1.0], "optim/gradient_norm"),
        ([1.0, np.inf], [1.0, 1.0], "optim/gradient_norm"),
    ],
)
def test_a_step_with_a_bad_number_changes_nothing_and_the_next_good_one_goes_on(
    factors, losses, bad, optimizer, strategy
):
    training, undisturbed = (Training(strategy, optimizer=optimizer, clip_norm=1.0) for _ in range(2))
    for one in (training, undisturbed):
        one.step(one.batch([1.0, 3.0], [1.0, 2.0]))
    before = training.values
    scalars = training.step(training.batch(factors, losses))
    assert [name for name, value in scalars.items() if not np.isfinite(value)] == [bad]
    assert_same(training.values, before)
    for one in (training, undisturbed):
        one.step(one.batch([2.0, 0.0], [1.0, 2.0]))
    assert_same(training.values, undisturbed.values)
    assert training.values[-1][0] == 2  # The bad one is not counted.


@pytest.mark.parametrize("clip_norm", [0.5, 100.0, 0.0])
def test_gradient_is_clipped_by_its_global_norm(clip_norm, strategy):
    """The norm before clipping is what is logged."""
    training = Training(strategy, clip_norm=clip_norm)
    compute = tf.function(training.step.compute, autograph=False)
    gradients, scalars = compute(training.batch([2.0, 1.0], [1.0, 1.0]))
    whole = 3 * np.sqrt(3)
    assert float(scalars["optim/gradient_norm"]) == pytest.approx(whole)
    wanted = 3.0 * (min(clip_norm / whole, 1.0) if clip_norm else 1.0)
    for gradient in gradients:
        for copy in strategy.experimental_local_results(gradient):
            np.testing.assert_allclose(copy, np.full(copy.shape, wanted), rtol=1e-6)
