"""kill -9 at twenty random points: the weights at the end are those of a run that nobody disturbed, bit for bit."""

from __future__ import annotations

import collections
import os
import random
import signal
import time

import commands
import numpy as np
import pytest
import tiny_data

pytestmark = pytest.mark.process

KILLS = 20
STEPS = 40
SETTINGS = {**commands.SETTINGS, "model": "no_dsg", "epochs": 10.0, "checkpoint_steps": 2}


def test_twenty_kills_change_nothing(tmp_path):
    data_dir = str(tmp_path / "data")
    tiny_data.write(data_dir, {"train": tiny_data.NUM_IMAGES["train"]})
    undisturbed = commands.run("train.py", **SETTINGS, data_dir=data_dir, model_dir=str(tmp_path / "undisturbed"))
    assert undisturbed.returncode == 0, undisturbed.stderr[-3000:]

    settings = {**SETTINGS, "data_dir": data_dir, "model_dir": str(tmp_path / "killed")}
    rng = random.Random(0)
    found = collections.Counter()
    for point in sorted(rng.uniform(0, STEPS) for _ in range(KILLS)):
        with commands.start("train.py", **settings) as process:
            if point >= 1:
                commands.read_to_step(process, int(point))
            # Also in the middle of a step or a checkpoint; those before the first step while the program starts.
            time.sleep(rng.uniform(0, 0.5) if point >= 1 else rng.uniform(0, 10))
            os.kill(process.pid, signal.SIGKILL)
            commands.read_to_end(process)
        assert process.returncode == -signal.SIGKILL
        left = os.listdir(tmp_path / "killed" / "checkpoints") if (tmp_path / "killed" / "checkpoints").exists() else []
        found["kills"] += 1
        found["while a checkpoint was written"] += any("temp" in name for name in left)
    print(dict(found))

    done = commands.run("train.py", **settings)
    assert done.returncode == 0 and "resuming after step" in done.stderr, done.stderr[-3000:]
    expected, values = (commands.last_checkpoint(tmp_path / name) for name in ("undisturbed", "killed"))
    assert set(values) == set(expected) and commands.last_step(tmp_path / "killed") == STEPS
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    assert not any("temp" in name for name in os.listdir(tmp_path / "killed" / "checkpoints"))
