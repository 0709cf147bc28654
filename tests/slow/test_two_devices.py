"""A step on two devices is the step on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import tiny_data

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ON_TWO_DEVICES = """
import json, sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import tiny
from dsg_tf import training
from dsg_tf.data.records import DatasetInfo

data_dir, model_dir, batch_norm, model = sys.argv[1:]

logged = {}

def step(name, strategy, **changes):
    settings = tiny.config(data_dir=data_dir, model_dir=f"{model_dir}/{name}", batch_size=4, epochs=0.5,
                           num_halvings=0, learning_rate=0.1, **changes)
    trainer = training.Trainer(settings, DatasetInfo.load(data_dir), strategy, lambda model, step: {})
    before = [v.numpy() for v in trainer.model.variables]
    trainer._log = lambda scalars, *_: logged.update(
        {name: {tag: value for tag, value in scalars.items() if not tag.startswith("input/")}})
    trainer.train()
    assert int(trainer.step.numpy()) == 1
    return before, [v.numpy() for v in trainer.model.variables]

def largest(first, second):
    return float(max(np.abs(a - b).max() for a, b in zip(first, second)))

one_device = tf.distribute.MirroredStrategy(["/cpu:0"])
two_devices = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
before, single = step("1", one_device, batch_norm=batch_norm, model=model)
_, double = step("2", two_devices, batch_norm=batch_norm, model=model)
scalars_apart = max(abs(value - logged["2"][name]) / (1 + abs(value)) for name, value in logged["1"].items())
print(json.dumps({"moved": largest(before, single), "apart": largest(single, double),
                  "scalars_apart": scalars_apart, "subject_iou": logged["1"]["metric/subject_iou"]}))
"""


def step_on_two_devices(data_dir, model_dir, batch_norm, model):
    """How far a step moves the weights on one device, and how far apart it is on two."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2",
                   "PYTHONPATH": os.pathsep.join([os.path.dirname(TESTS), TESTS])}
    done = subprocess.run([sys.executable, "-c", ON_TWO_DEVICES, data_dir, model_dir, batch_norm, model],
                          env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("batch_norm, model", [("sync", "no_dsg"), ("frozen", "dsg")])
def test_two_devices_step_as_one(batch_norm, model, tmp_path):
    """Batch norm over all devices with the smaller model; the whole one with frozen statistics."""
    tiny_data.write(str(tmp_path / "data"), {"train": 8})
    found = step_on_two_devices(str(tmp_path / "data"), str(tmp_path / "run"), batch_norm, model)
    assert found["moved"] > 1e-2 and found["apart"] < 1e-5, found
    assert found["subject_iou"] > 0 and found["scalars_apart"] < 1e-5, found
