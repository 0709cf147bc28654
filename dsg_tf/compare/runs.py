"""Trains what a comparison lacks, each run as train.py would; finished runs are reused, an interrupted one goes on."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Sequence

from absl import logging

from dsg_tf import config as config_lib
from dsg_tf.compare import hparams_page, report
from dsg_tf.process import command, environment, files, stopping

RUN_FILE = "run.json"


def compare(
    base: config_lib.Config,
    models: Sequence[str],
    seeds: Sequence[int],
    split: str,
    compare_dir: str,
    debug: bool = False,
) -> str:
    """Trains what is missing, then writes `compare.json`, `compare.md` and `compare.png` to `compare_dir`.

    Args:
      base: the settings that all systems share.
      models: of `config.SYSTEMS`; "NAME-relation" and "NAME-image" are controls.
      seeds: each system is trained once with each.
      split: what to compare on.
      compare_dir: each run has a directory `<model>_seed<seed>` in it.
      debug: let the errors of the runs through.

    Returns:
      The table.
    """
    for model in models:  # An unknown system is told before the others are trained.
        config_lib.for_system(base, model)
    runs: dict[str, list[report.Run]] = {}
    for seed in seeds:  # A seed of all systems first: an interrupted comparison has a whole table.
        for model in models:
            directory = os.path.join(compare_dir, f"{model}_seed{seed}")
            config = config_lib.for_system(dataclasses.replace(base, seed=seed, model_dir=directory), model)
            minutes = train_if_needed(config, split, debug)
            runs.setdefault(model, []).append(report.Run.load(directory, split, seed, minutes))
            report.write(runs, compare_dir, split)
            hparams_page.write(config, split)
            logging.info("%s, seed %d: done, results in %s", model, seed, compare_dir)
    return report.table(report.report(runs))


def train_if_needed(config: config_lib.Config, split: str, debug: bool = False) -> float | None:
    """Runs train.py's work in a process of its own, unless the results are there; returns its minutes, all told.

    None where the results are there and were not made here: train.py counts no minutes.

    Raises:
      ValueError: the results that are there are of other settings.
      ChildProcessError: the run failed; its output tells why.
      stopping.Stopped: this process was asked to stop; the run has saved its state.
    """
    results_path = os.path.join(config.model_dir, f"eval_{split}.json")
    path = os.path.join(config.model_dir, RUN_FILE)
    spent = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            spent = json.load(file)["minutes"]
    if os.path.exists(results_path):
        if config_lib.load(config.model_dir) != config:
            raise ValueError(
                f"{config.model_dir} holds results of other settings: remove it, or choose another --compare_dir"
            )
        return spent
    # A new process: memory, determinism and precision settings of one run do not reach the next.
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(config, debug), daemon=True)
    start = time.monotonic()
    process.start()
    try:
        process.join()
    except stopping.Stopped as stopped:
        process.terminate()  # Which lets it save.
        process.join()
        raise stopping.Stopped(f"in {config.model_dir}") from stopped
    finally:
        spent = (spent or 0.0) + (time.monotonic() - start) / 60
        files.write_json(path, {"minutes": round(spent, 2)})
    if process.exitcode or not os.path.exists(results_path):
        raise ChildProcessError(
            f"training of {config.model_dir} ended with exit code {process.exitcode} before its results"
        )
    return spent


def _train(config: config_lib.Config, debug: bool) -> None:
    """The work of a child process."""
    environment.prepare(batches=True, debug=debug)
    stopping.install()
    stopping.stop_with_parent()
    from dsg_tf.training import run  # TensorFlow starts in the process that uses it.

    with command.ending(config.model_dir, debug):
        logging.info("%s:\n%s", config.model_dir, run.train_and_evaluate(config))
