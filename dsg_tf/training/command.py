"""Trains a model, then evaluates it.

  python train.py --flagfile=configs/synthetic.flags

Run the same command again to go on where a run ended; SIGTERM and Ctrl-C save first. Everything lands in --model_dir:
checkpoints, configuration, TensorBoard logs, eval_<split>.json and figures.
"""

from __future__ import annotations

from absl import flags

from dsg_tf import config as config_lib
from dsg_tf.process import command

FLAGS = flags.FLAGS


def run() -> None:
    """The command `train.py`, installed as `dsg-train`."""
    command.run("train.py", config_lib.define_flags, main, usage=__doc__)


def main() -> None:
    config = config_lib.from_flags(FLAGS)
    for name in ("model_dir", "data_dir"):
        if not getattr(config, name):
            raise ValueError(f"--{name} is needed; a configuration such as --flagfile=configs/synthetic.flags sets it")
    from dsg_tf.training import run as runs

    print(runs.train_and_evaluate(config))
