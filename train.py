"""Trains a model, then evaluates it: ``python train.py --flagfile=configs/synthetic.flags``.

Run the same command again to go on where a run ended; SIGTERM and Ctrl-C save first. Everything lands in --model_dir:
checkpoints, configuration, TensorBoard logs, ``eval_<split>.json`` and figures.
"""

import os

# TensorFlow's start-up notes about optional accelerators hide the program's own first lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A quarter faster on CPUs where TensorFlow does not turn it on by itself (those without AVX-512).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from absl import app, flags, logging

from dsg_tf import config as config_lib, entry, running, stopping


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    stopping.install()
    with entry.sentences("train.py", flags.FLAGS.debug):
        config = config_lib.from_flags()
        for name in ("model_dir", "data_dir"):
            if not getattr(config, name):
                raise ValueError(f"--{name} is needed; a configuration such as --flagfile=configs/synthetic.flags "
                                 "sets it")
        print(running.train_and_evaluate(config))


if __name__ == "__main__":
    config_lib.define_flags()
    flags.adopt_module_key_flags(config_lib)  # So that --help lists them.
    flags.DEFINE_boolean("debug", False, "show the stack trace of an error")
    app.run(main)
