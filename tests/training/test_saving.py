"""The checkpoints of a run: what is not saved, what a full disk leaves, what a run goes on from."""

from __future__ import annotations

import resource

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.keras import keras
from dsg_tf.model.moving_average import MovingAverage, named_variables
from dsg_tf.training.nonfinite import NonFiniteError
from dsg_tf.training.saving import RunState


def make_state(model_dir, start=0.0):
    """Of a model with one weight of 160 kB."""
    model = tf.Module()
    model.kernel = tf.Variable(tf.fill([200, 200], start), name="kernel")
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(model.variables)
    average = MovingAverage(named_variables(model), 0.9)
    step = tf.Variable(0, dtype=tf.int64)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    return RunState(str(model_dir), strategy, model=model, optimizer=optimizer, step=step, average=average)


@pytest.fixture
def state(tmp_path):
    return make_state(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


def names_in(folder):
    return sorted(path.stem for path in folder.glob("*.index"))


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_goes_on_from_its_last_checkpoint(state, folder, tmp_path, caplog):
    assert state.restore() == 0 and state.last_checkpoint() == "there is no checkpoint yet"
    for step in (2, 4, 6):
        state.step.assign(step)
        state.model.kernel.assign(tf.fill([200, 200], float(step)))
        state.average.averages[0].assign(tf.fill([200, 200], -float(step)))
        state.optimizer.variables[-1].assign(tf.fill([200, 200], 10.0 * step))
        state.save(step)
    assert names_in(folder) == ["ckpt-4", "ckpt-6"]
    (folder / "ckpt-7.data-00000-of-00001").write_text("half")  # Of a process that was killed.
    caplog.set_level("INFO", logger="absl")
    again = make_state(tmp_path, start=1.0)
    assert not (folder / "ckpt-7.data-00000-of-00001").exists()
    assert again.restore() == 6 and f"resuming after step 6 from {folder}/ckpt-6" in caplog.text
    assert again.last_checkpoint() == f"the last checkpoint is {folder}/ckpt-6"
    for variable, value in (
        (again.model.kernel, 6.0),
        (again.average.averages[0], -6.0),
        (again.optimizer.variables[-1], 60.0),
    ):
        assert (variable.numpy() == value).all()


def test_a_run_of_version_0_2_goes_on_with_its_averages(state, folder, tmp_path):
    before = tf.train.Checkpoint(averages=[tf.Variable(tf.fill([200, 200], 5.0))])
    items = {"model": state.model, "optimizer": state.optimizer, "step": state.step, "average": before}
    state.step.assign(3)
    tf.train.CheckpointManager(tf.train.Checkpoint(**items), str(folder), 2).save(3)
    again = make_state(tmp_path, start=1.0)
    assert again.restore() == 3 and not again.model.kernel.numpy().any()
    assert (again.average.averages[0].numpy() == 5.0).all()
    again.step.assign(4)
    again.save(4)
    stored = [name for name, _ in tf.train.list_variables(str(folder / "ckpt-4"))]
    assert "average/by_name/kernel/.ATTRIBUTES/VARIABLE_VALUE" in stored
    assert make_state(tmp_path).restore() == 4


@pytest.mark.parametrize("of", ["weights", "averages"])
def test_weights_that_are_not_finite_are_not_saved(of, state, folder):
    state.save(1)
    variable = state.model.kernel if of == "weights" else state.average.averages[0]
    variable.assign(tf.where(tf.eye(200) > 0, np.inf, 0.0))
    message = f"step 2: the update made {variable.name} .*not saved, the last checkpoint is {folder}/ckpt-1"
    with pytest.raises(NonFiniteError, match=message):
        state.save(2)
    assert names_in(folder) == ["ckpt-1"]


def test_a_full_disk_names_the_file_and_leaves_the_last_checkpoint(state, folder):
    state.save(1)
    before = content_of(folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # What fails is the write, as on a full disk.
    try:
        message = f"step 2 cannot be written, the last checkpoint is {folder}/ckpt-1: .*{folder}/ckpt-2.*File too large"
        with pytest.raises(OSError, match=message):
            state.save(2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content_of(folder) == before
    state.save(2)
    assert names_in(folder) == ["ckpt-1", "ckpt-2"]
