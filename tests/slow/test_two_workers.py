"""Two worker processes on this machine: they train as one, and survive what happens to one of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import commands
import numpy as np
import pytest
import tiny_data

pytestmark = pytest.mark.process

WORKERS = 2
# SGD, since AdamW makes steps of the rounding errors of what has no gradient.
SETTINGS = {
    **commands.SETTINGS,
    "model": "no_dsg",
    "optimizer": "sgd",
    "batch_size": 4,
    "batch_norm": "frozen_all",
    "epochs": 6.0,
    "checkpoint_steps": 4,
    "eval_steps": 5,
}
STEPS, PATIENCE = 12, 900  # Seconds, on a busy machine.


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(path, {"train": 8, "val": 4})
    return path


@pytest.fixture(scope="module")
def pair(data_dir, tmp_path_factory):
    """The model directory of two workers that nothing happened to."""
    path = tmp_path_factory.mktemp("pair")
    with Job(data_dir, path) as job:
        job.wait()
    return path


class Job:
    """Worker processes of train.py and, like a cluster's supervisor, a new one wherever one failed."""

    def __init__(self, data_dir, model_dir):
        self.command = commands.command(
            "train.py", **SETTINGS, strategy="multi_worker_mirrored", data_dir=data_dir, model_dir=str(model_dir)
        )
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(WORKERS)]
            self.hosts = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
        self.steps = [threading.Event() for _ in range(STEPS + 1)]
        self.output = [[] for _ in range(WORKERS)]
        self.processes, self.failures = [], 0

    def __enter__(self):
        self.processes = [self.start(k) for k in range(WORKERS)]
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()

    def start(self, index):
        task = {"cluster": {"worker": self.hosts}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            self.command,
            cwd=commands.ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**commands.ENVIRONMENT, "TF_CONFIG": json.dumps(task)},
        )
        threading.Thread(target=self._read, args=(process, self.output[index]), daemon=True).start()
        return process

    def _read(self, process, lines):
        for line in process.stderr:
            lines.append(line)
            reached = re.search(r" step (\d+)/\d+ ", line)
            if reached:
                self.steps[int(reached[1])].set()

    def wait(self, restart=False):
        """Waits until all have ended well."""
        deadline = time.monotonic() + PATIENCE
        while any(process.poll() is None for process in self.processes) or self._failed():
            assert time.monotonic() < deadline, "".join(map("".join, self.output))
            for index in self._failed():
                assert restart and self.failures < 20, "".join(map("".join, self.output))
                self.failures += 1
                self.processes[index] = self.start(index)
            time.sleep(0.2)

    def _failed(self):
        return [index for index, process in enumerate(self.processes) if process.poll()]


def assert_same(first, second, **tolerance):
    first, second = commands.last_checkpoint(first), commands.last_checkpoint(second)
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_allclose(second[name], value, err_msg=name, **tolerance)


def test_two_workers_train_as_one_process_with_the_joint_batch(pair, data_dir, tmp_path):
    done = commands.run("train.py", **SETTINGS, data_dir=data_dir, model_dir=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert_same(tmp_path, pair, rtol=1e-3, atol=1e-5)
    assert sorted(os.listdir(pair)) == sorted(os.listdir(tmp_path))
    assert sorted(os.listdir(pair / "checkpoints")) == sorted(os.listdir(tmp_path / "checkpoints"))
    scores = [json.loads((path / "eval_val.json").read_text()) for path in (pair, tmp_path)]
    assert scores[0]["subject_iou"] == pytest.approx(scores[1]["subject_iou"], abs=1e-3)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_comes_back_and_the_weights_are_the_same(victim, pair, data_dir, tmp_path):
    with Job(data_dir, tmp_path) as job:
        assert job.steps[6].wait(PATIENCE), job.output
        job.processes[victim].kill()
        job.wait(restart=True)
    assert job.failures >= 1
    assert any("resuming after step 4" in line for line in job.output[victim])
    assert_same(pair, tmp_path, rtol=0, atol=0)


def test_asking_one_worker_to_stop_stops_both_at_one_step(pair, data_dir, tmp_path):
    with Job(data_dir, tmp_path) as job:
        assert job.steps[6].wait(PATIENCE), job.output
        job.processes[1].send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE) for process in job.processes] == [0, 0], job.output
    stopped = [re.search(r"stopped at step (\d+)", "".join(lines)) for lines in job.output]
    assert all(stopped) and stopped[0][1] == stopped[1][1] == str(commands.last_step(tmp_path))
    with Job(data_dir, tmp_path) as job:
        job.wait()
    assert_same(pair, tmp_path, rtol=0, atol=0)
