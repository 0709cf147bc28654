"""Schedules and weight decay, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf.keras import keras
from dsg_tf.training import optimizers


def make_schedule(settings, total_steps):
    return optimizers.make_schedule(
        settings.schedule,
        settings.peak_learning_rate,
        total_steps,
        num_halvings=settings.num_halvings,
        warmup_steps=settings.warmup_steps,
    )


def rates(settings, total_steps, steps):
    schedule = make_schedule(settings, total_steps)
    return [float(schedule(step)) for step in steps]


def test_stepwise_schedule_halves_at_equal_distances():
    settings = tiny.config(schedule="stepwise", num_halvings=4, learning_rate=0.8)
    np.testing.assert_allclose(
        rates(settings, 100, [0, 19, 21, 50, 70, 99]), [0.8, 0.8, 0.4, 0.2, 0.1, 0.05], rtol=1e-6
    )


def test_stepwise_schedule_halves_where_it_is_told():
    schedule = optimizers.make_schedule("stepwise", 0.8, 100, num_halvings=4, warmup_steps=0, halvings_at=[10, 20, 50])
    found = [float(schedule(step)) for step in (0, 10, 11, 21, 50, 51, 99)]
    np.testing.assert_allclose(found, [0.8, 0.8, 0.4, 0.2, 0.2, 0.1, 0.1], rtol=1e-6)


def test_stepwise_schedule_without_halvings_is_constant():
    assert make_schedule(tiny.config(num_halvings=0, learning_rate=0.5), 10) == 0.5
    assert rates(tiny.config(num_halvings=0, learning_rate=0.5, warmup_steps=4), 10, [2, 4, 9]) == [0.25, 0.5, 0.5]


def test_stepwise_schedule_takes_fewer_steps_than_halvings():
    settings = tiny.config(num_halvings=4, learning_rate=1.0)
    found = rates(settings, 3, [0, 1, 2])
    assert found == sorted(found, reverse=True) and 1.0 >= found[0] > found[-1] >= 1 / 16


def test_cosine_schedule():
    settings = tiny.config(schedule="cosine", learning_rate=0.2)
    steps = [0, 10, 25, 50]
    np.testing.assert_allclose(
        rates(settings, 50, steps), [0.1 * (1 + math.cos(math.pi * s / 50)) for s in steps], atol=1e-7
    )


def test_warmup_rises_linearly_and_meets_the_schedule():
    settings = tiny.config(schedule="cosine", learning_rate=0.2, warmup_steps=10)
    cosine = lambda step: 0.1 * (1 + math.cos(math.pi * step / 50))
    expected = [0.0, 0.1 * cosine(10), 0.5 * cosine(10), cosine(10), cosine(11), cosine(40)]
    np.testing.assert_allclose(rates(settings, 50, [0, 1, 5, 10, 11, 40]), expected, atol=1e-7)


@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_weight_decay_is_for_kernels_only(name):
    layers = {
        "dense": keras.layers.Dense(3, bias_initializer="ones", name="dense"),
        "norm": keras.layers.BatchNormalization(beta_initializer="ones", name="norm"),
        "table": keras.layers.Embedding(4, 3, "ones", name="table"),
    }
    layers["norm"](layers["dense"](tf.ones([1, 2])))
    layers["table"](tf.constant([0]))
    variables = [v for layer in layers.values() for v in layer.trainable_variables]
    before = {v.name: v.numpy() for v in variables}
    assert len(before) == 5

    optimizer = optimizers.make_optimizer(name, 0.5, 0.1)
    optimizer.build(variables)
    # Without a gradient, only the decay moves a weight: by learning rate times decay.
    optimizer.apply_gradients([(tf.zeros_like(v), v) for v in variables])
    for variable in variables:
        factor = 0.95 if "kernel" in variable.name else 1.0
        np.testing.assert_allclose(variable.numpy(), before[variable.name] * factor, rtol=1e-6, err_msg=variable.name)


def test_sgd_has_momentum():
    variable = tf.Variable(1.0)
    optimizer = optimizers.make_optimizer("sgd", 0.1)
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply_gradients([(tf.constant(1.0), variable)])
    assert float(variable) == pytest.approx(1.0 - 0.1 - 0.1 * (0.9 + 1.0))


@pytest.mark.stack
@pytest.mark.parametrize("name", ["sgd", "adamw", "rmsprop"])
def test_slow_variables_move_by_a_share(name):
    fast, slow = (tf.Variable([1.0, -2.0], name="same") for _ in range(2))  # Keras may give two the same name.
    optimizer = optimizers.make_optimizer(name, 0.1, slow_variables=[slow], slow_rate=0.25)
    optimizer.build([fast, slow])
    for gradient in ([0.5, -1.0], [0.1, 3.0]):
        before = fast.numpy(), slow.numpy()
        optimizer.apply_gradients([(tf.constant(gradient), fast), (tf.constant(gradient), slow)])
        np.testing.assert_allclose(slow.numpy() - before[1], 0.25 * (fast.numpy() - before[0]), rtol=1e-5)


def test_slow_variables_need_an_optimizer_of_keras():
    with pytest.raises(ValueError, match=r"--init_rate=0.1 does not go with --optimizer=lamb"):
        optimizers.make_optimizer("lamb", 0.1, slow_rate=0.1)
