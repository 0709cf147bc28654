"""Trains and compares systems on the same data by the same metric: the paper's Tables 1 and 2.

  python -m dsg_tf.compare --flagfile=configs/clevr_small.flags --models=dsg,no_dsg,vrd --seeds=0,1,2 \\
      --compare_dir=runs/compare

Each system and seed gets a directory ``<compare_dir>/<model>_seed<k>`` as train.py would write it. Finished runs are
reused, an interrupted one goes on: run the same command again. SIGTERM and Ctrl-C let the run at work save first.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import dataclasses
import json
import multiprocessing
import sys
import time

from absl import app, flags, logging

from dsg_tf import comparison, config as config_lib, files, sessions, stopping

FLAGS = flags.FLAGS
RUN_FILE = "run.json"


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    logging.set_verbosity(logging.INFO)
    stopping.install()
    try:
        wrong = [seed for seed in FLAGS.seeds if not seed.isdigit()]
        if wrong:
            raise ValueError(f"--seeds={','.join(FLAGS.seeds)}: {wrong[0]!r} is not a whole number from 0")
        compare(config_lib.from_flags(), FLAGS.models, [int(seed) for seed in FLAGS.seeds], FLAGS.split,
                FLAGS.compare_dir)
    except stopping.Stopped as stopped:
        print(f"compare: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except (ValueError, OSError, RuntimeError) as error:
        if FLAGS.debug:
            raise
        sys.exit(f"compare: {error}")


def compare(base: config_lib.Config, models: list[str], seeds: list[int], split: str, compare_dir: str) -> None:
    """Trains what is missing, then writes ``compare.json``, ``compare.md`` and ``compare.png`` to ``compare_dir``."""
    for model in models:  # An unknown system is told before the others are trained.
        config_lib.for_system(base, model)
    runs = {}
    for seed in seeds:  # A seed of all systems first: an interrupted comparison has a whole table.
        for model in models:
            directory = os.path.join(compare_dir, f"{model}_seed{seed}")
            config = config_lib.for_system(dataclasses.replace(base, seed=seed, model_dir=directory), model)
            minutes = train_if_needed(config, split)
            runs.setdefault(model, []).append(comparison.Run.load(directory, split, seed, minutes))
            comparison.write(runs, compare_dir, split)
            sessions.write(config, split)
            logging.info("%s, seed %d: done, results in %s", model, seed, compare_dir)
    print(comparison.table(comparison.report(runs)))


def train_if_needed(config: config_lib.Config, split: str) -> float:
    """Runs train.py's work in a process of its own, unless the results are there; returns its minutes, all told.

    Raises:
      RuntimeError: the run failed; its output tells why.
      stopping.Stopped: this process was asked to stop; the run has saved its state.
    """
    results_path = os.path.join(config.model_dir, f"eval_{split}.json")
    path = os.path.join(config.model_dir, RUN_FILE)
    spent = 0.0
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            spent = json.load(file)["minutes"]
    if os.path.exists(results_path):
        if config_lib.load(config.model_dir) != config:
            raise ValueError(f"{config.model_dir} holds results of other settings: remove it, or choose another "
                             "--compare_dir")
        return spent
    # A new process: memory, determinism and precision settings of one run do not reach the next.
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(config, FLAGS.debug), daemon=True)
    start = time.monotonic()
    process.start()
    try:
        process.join()
    except stopping.Stopped as stopped:
        process.terminate()  # Which lets it save.
        process.join()
        raise stopping.Stopped(f"in {config.model_dir}") from stopped
    finally:
        spent += (time.monotonic() - start) / 60
        files.write_json(path, {"minutes": round(spent, 2)})
    if process.exitcode or not os.path.exists(results_path):
        raise RuntimeError(f"training of {config.model_dir} ended with exit code {process.exitcode} before its results")
    return spent


def _train(config: config_lib.Config, debug: bool) -> None:
    from dsg_tf import entry, running  # TensorFlow starts in the process that uses it.

    logging.set_verbosity(logging.INFO)
    logging.use_absl_handler()
    stopping.install()
    stopping.stop_with_parent()
    with entry.sentences(config.model_dir, debug):
        logging.info("%s:\n%s", config.model_dir, running.train_and_evaluate(config))


if __name__ == "__main__":
    config_lib.define_flags()
    flags.adopt_module_key_flags(config_lib)
    flags.DEFINE_list("models", ["dsg", "no_dsg"], "systems: any of " + ", ".join(config_lib.SYSTEMS)
                      + "; NAME-relation and NAME-image are controls that do not see the query's relation or the image")
    flags.DEFINE_list("seeds", ["0"], "seeds; each system is trained once with each")
    flags.DEFINE_string("split", "val", "the split to compare on")
    flags.DEFINE_string("compare_dir", "runs/compare", "where the runs and the results go")
    flags.DEFINE_boolean("debug", False, "show the stack trace of an error")
    app.run(main)
