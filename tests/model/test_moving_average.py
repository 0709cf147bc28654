"""The moving average of the weights, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.model.moving_average import MovingAverage


def test_moving_average_is_the_recursion_with_a_warmed_up_decay():
    values = np.random.default_rng(0).normal(size=[30, 3]).astype(np.float32)
    weight, count = tf.Variable(values[0]), tf.Variable(0)
    average = MovingAverage({"weight": weight, "count": count}, decay=0.7)
    expected = values[0].astype(np.float64)
    for step in range(1, 30):
        weight.assign(values[step])
        count.assign(7 * step)
        average.update(tf.constant(step, tf.int64))
        decay = min(0.7, (1 + step) / (10 + step))  # 0.7 from step 20 on.
        expected = decay * expected + (1 - decay) * values[step]
        np.testing.assert_allclose(average.averages[0].numpy(), expected, atol=1e-6)
        assert int(average.averages[1]) == 7 * step  # Whole numbers are copied.
    np.testing.assert_array_equal(weight.numpy(), values[-1])


def test_swapped_in_puts_the_average_in_place_and_the_weights_back():
    weight = tf.Variable([1.0, 2.0])
    average = MovingAverage({"weight": weight}, decay=0.5)
    weight.assign([5.0, 6.0])
    with average.swapped_in():
        np.testing.assert_array_equal(weight.numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(weight.numpy(), [5.0, 6.0])
    np.testing.assert_array_equal(average.averages[0].numpy(), [1.0, 2.0])


def test_swapped_in_puts_the_weights_back_after_an_error():
    weight = tf.Variable([1.0, 2.0])
    average = MovingAverage({"weight": weight}, decay=0.5)
    weight.assign([5.0, 6.0])
    with pytest.raises(RuntimeError, match="planted"), average.swapped_in():
        raise RuntimeError("planted")
    np.testing.assert_array_equal(weight.numpy(), [5.0, 6.0])


def test_a_checkpoint_knows_averages_by_name_whatever_their_order(tmp_path):
    first = MovingAverage({"one": tf.Variable(1.0), "other": tf.Variable(2.0)}, decay=0.5)
    path = tf.train.Checkpoint(average=first).write(str(tmp_path / "checkpoint"))
    second = MovingAverage({"other": tf.Variable(0.0), "one": tf.Variable(0.0)}, decay=0.5)
    stored = [name for name, _ in tf.train.list_variables(path)]
    assert second.as_stored(stored) is second
    tf.train.Checkpoint(average=second).read(path).assert_consumed()
    assert {name: float(value) for name, value in second.by_name.items()} == {"one": 1.0, "other": 2.0}
    assert [float(value) for value in second.averages] == [2.0, 1.0]


def test_a_checkpoint_of_version_0_2_knows_averages_by_their_order(tmp_path):
    before = tf.train.Checkpoint(averages=[tf.Variable(1.0), tf.Variable(2.0)])
    path = tf.train.Checkpoint(average=before).write(str(tmp_path / "checkpoint"))
    average = MovingAverage({"one": tf.Variable(0.0), "other": tf.Variable(0.0)}, decay=0.5)
    stored = [name for name, _ in tf.train.list_variables(path)]
    tf.train.Checkpoint(average=average.as_stored(stored)).read(path).assert_existing_objects_matched()
    assert {name: float(value) for name, value in average.by_name.items()} == {"one": 1.0, "other": 2.0}
