"""A step on two devices is the step on one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf.training import loop


def step(strategy, info, folder, **changes):
    """The weights before and after the one step, all that an update changes, and what was logged."""
    settings = tiny.config(
        data_dir=str(folder / "data"),
        model_dir=str(folder / f"run{strategy.num_replicas_in_sync}"),
        batch_size=4,
        epochs=0.5,
        num_halvings=0,
        **changes,
    )
    trainer = loop.Trainer(settings, info, strategy, lambda model, step: {})
    before = [v.numpy() for v in trainer.model.variables]
    logged = {}
    trainer._log = lambda scalars, *_: logged.update(scalars)
    trainer.train()
    assert int(trainer.state.step.numpy()) == 1
    for variable in (*trainer.model.trainable_variables, *trainer.state.optimizer.variables, *trainer.average.averages):
        copies = [copy.numpy() for copy in strategy.experimental_local_results(variable)]
        assert len(copies) == strategy.num_replicas_in_sync
        np.testing.assert_array_equal(copies[0], copies[-1], err_msg=variable.name)
    after = [v.numpy() for v in trainer.model.variables]
    averages = [v.numpy() for v in trainer.average.averages]
    return before, after, averages, {tag: value for tag, value in logged.items() if not tag.startswith("input/")}


def largest(first, second):
    return max(np.abs(a - b).max() for a, b in zip(first, second))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "no_dsg", "batch_norm": "sync"},
        {"model": "dsg", "batch_norm": "frozen_all"},
        {"model": "no_dsg", "batch_norm": "frozen_all", "jit_compile": True},
    ],
    ids=lambda changes: "-".join(map(str, changes)) if "jit_compile" in changes else changes["batch_norm"],
)
def test_two_devices_step_as_one(changes, two_devices, tmp_path):
    """Batch norm over all devices with the smaller model; the whole one with frozen statistics."""
    info = tiny_data.write(str(tmp_path / "data"), {"train": 8})
    one_device = tf.distribute.MirroredStrategy(["/cpu:0"])
    settings = {"learning_rate": 0.1, "ema_decay": 0.5, **changes}
    before, single, averages, scalars = step(one_device, info, tmp_path, **settings)
    _, double, averages_of_two, scalars_of_two = step(two_devices, info, tmp_path, **settings)
    assert largest(before, single) > 1e-2
    assert largest(single, double) < 1e-5 and largest(averages, averages_of_two) < 1e-5
    assert scalars_of_two == pytest.approx(scalars, rel=1e-5, abs=1e-5)
    assert scalars["metric/subject_iou"] + scalars["metric/object_iou"] > 0


def test_adamw_steps_on_two_devices_with_statistics_of_each(two_devices, tmp_path):
    """Its weights are not those of one device: it makes steps of the rounding errors of what has no gradient."""
    info = tiny_data.write(str(tmp_path / "data"), {"train": 8})
    changes = {"optimizer": "adamw", "learning_rate": 1e-3, "batch_norm": "batch", "ema_decay": 0.5, "model": "no_dsg"}
    before, after, *_ = step(two_devices, info, tmp_path, **changes)
    assert 5e-4 < largest(before, after) and all(np.isfinite(value).all() for value in after)
