"""The whole model with frozen batch norm takes the same step on two devices as on one."""

from __future__ import annotations

import test_training
import tiny_data


def test_two_devices_step_as_one(tmp_path):
    tiny_data.write(str(tmp_path / "data"), {"train": 8})
    found = test_training.step_on_two_devices(str(tmp_path / "data"), str(tmp_path / "run"), "frozen", "dsg")
    assert found["moved"] > 1e-2 and found["apart"] < 1e-5, found
