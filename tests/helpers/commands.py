"""train.py, eval.py and modules as a user runs them, on the tiny data and with the tiny model."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
import tiny
from absl import flags
from paths import ROOT

from dsg_tf import checkpoints

STEPS = 20
SETTINGS = {
    **tiny.SETTINGS,
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "batch_norm": "batch",
    "ema_decay": 0.9,
    "color_jitter": 0.2,
    "epochs": 5.0,
    "log_steps": 1,
    "checkpoint_steps": 3,
    "eval_batch_size": 3,
}
# One device, whatever the machine has: the runs are compared.
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}


def command(script, **changes) -> list[str]:
    """The command line of ``script``, or of a module, with flags; tuples become lists with commas."""
    arguments = []
    for name, value in changes.items():
        for one in value if isinstance(value, list) else [value]:
            arguments.append(f"--{name}={','.join(map(str, one)) if isinstance(one, tuple) else one}")
    program = [os.path.join(ROOT, script)] if script.endswith(".py") else ["-m", script]
    return [sys.executable, *program, *arguments]


def parsed(define_flags: Callable[[flags.FlagValues], None], arguments: Iterable[str]) -> flags.FlagValues:
    """The flags of a command that runs in this process; what is no flag is an error."""
    values = flags.FlagValues()
    define_flags(values)
    assert values(["command", *arguments]) == ["command"]
    return values


def run(script, environment=None, **changes) -> subprocess.CompletedProcess:
    environment = {**ENVIRONMENT, **(environment or {})}
    return subprocess.run(
        command(script, **changes), env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )


@contextlib.contextmanager
def start(script, preexec_fn=None, **changes) -> Iterator[subprocess.Popen]:
    """The program in the background, ended with the block; its stderr is for `read_to_step` and `read_to_end`."""
    with subprocess.Popen(
        command(script, **changes),
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec_fn,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_to_step(process, step: int) -> str:
    """Waits for the line of ``step`` or a later one; returns all before it. The end of the output is the end, too."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        reached = re.search(r" step (\d+)/\d+ ", line)
        if reached and int(reached[1]) >= step:
            break
    return "".join(lines)


def read_to_end(process) -> str:
    output = process.stderr.read()
    process.wait()
    return output


def last_checkpoint(model_dir) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(checkpoints.newest(checkpoints.checkpoint_dir(str(model_dir))))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("_CHECKPOINTABLE", "save_counter"))
    }


def last_step(model_dir) -> int:
    return int(last_checkpoint(model_dir)["step/.ATTRIBUTES/VARIABLE_VALUE"])
