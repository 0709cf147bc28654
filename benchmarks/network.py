"""The whole network with the graph and without (the paper, Table 3): time and rate; prints one JSON object.

    python benchmarks/network.py [--settings=configs/vg.flags --modes=graph] [--seconds=60]

"inference" is one image with its queries, "step" one training step on a batch: loss terms, gradient, check, update.
"graph" is tf.function, "xla" the same compiled, "bfloat16" the same in mixed precision, "eager" none of it; only the
first is also timed without the graph. Then the evaluation loop's rate, and the share of its time that the network by
itself takes on the same batches. The pictures are rendered; the networks have random weights, but as many boxes as
proposals can fill.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import dataclasses
import json
import statistics
import tempfile
import time
from unittest import mock

import machine
import settings
import tensorflow as tf
import timing
from absl import app, flags, logging

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.data.batches import pipeline
from dsg_tf.data.prepare import synthetic
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import scoring
from dsg_tf.process import stopping
from dsg_tf.training import loop

FLAGS = flags.FLAGS


def main(_):
    logging.set_verbosity(logging.WARNING)
    config = dataclasses.replace(settings.of_flag_file(FLAGS.settings), init_checkpoint="", score_threshold=0.0)
    with tempfile.TemporaryDirectory() as folder:
        for split in ("train", "val"):
            synthetic.prepare_synthetic(folder, split, FLAGS.images)
        config = dataclasses.replace(config, data_dir=folder, model_dir=folder)
        print(
            json.dumps(
                {
                    "settings": FLAGS.settings,
                    "batch_size": config.batch_size,
                    **measure(config, DatasetInfo.load(folder)),
                    "machine": machine.describe("tensorflow", "tf-models-official"),
                },
                indent=2,
            )
        )


def measure(config, info):
    """All times and ratios of a configuration."""
    batch = _batch(config, info)
    one = {name: value[:1] for name, value in batch.items()}
    calls, models = {}, {}
    for mode in FLAGS.modes:
        for system in ("dsg", "no_dsg") if mode == "graph" else ("dsg",):
            chosen = dataclasses.replace(
                config_lib.for_system(config, system),
                jit_compile=mode == "xla",
                precision="mixed_bfloat16" if mode == "bfloat16" else "float32",
            )
            trainer = loop.Trainer(chosen, info, tf.distribute.get_strategy(), evaluate=lambda model, step: {})
            models[f"{system} {mode}"] = trainer.model
            calls[f"{system} {mode} inference"] = _inference(trainer.model, mode, one)
            calls[f"{system} {mode} step"] = _step(trainer, mode, batch)
    times = timing.in_turns(calls, FLAGS.seconds, FLAGS.rounds)
    found = {"ratios": {}, **timing.report(times)}
    if "graph" in FLAGS.modes:
        found["ratios"] = {
            f"{kind}, with the graph / without": timing.ratio(times, f"dsg graph {kind}", f"no_dsg graph {kind}")
            for kind in ("inference", "step")
        }
        found["step_images_per_second"] = round(
            1000 * config.batch_size / statistics.median(times["dsg graph step"]), 3
        )
        found |= _evaluation(models["dsg graph"], config, info)
    for mode in FLAGS.modes:
        if mode != "graph" and "graph" in FLAGS.modes:
            found["ratios"] |= {
                f"{kind}, {mode} / graph": timing.ratio(times, f"dsg {mode} {kind}", f"dsg graph {kind}")
                for kind in ("inference", "step")
            }
    return found


def _batch(config, info):
    spec = build.batch_spec(config, info, "train", training=True)
    shards = info.shard_paths(config.data_dir, "train")
    return next(iter(pipeline.train_batches(shards, spec, config.batch_size, 0, 0, info.splits["train"].num_images)))


def _inference(model, mode, inputs):
    call = lambda inputs: model(inputs, training=False)
    if mode != "eager":
        call = tf.function(call, jit_compile=mode == "xla")
    return lambda: call({name: inputs[name] for name in ("image", "image_size", "queries")})


def _step(trainer, mode, batch):
    def step():
        with _eagerly() if mode == "eager" else contextlib.nullcontext():
            for value in trainer.step(batch).values():
                float(value)  # As the training loop looks at them.

    return step


@contextlib.contextmanager
def _eagerly():
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def _evaluation(model, config, info):
    """The evaluation's rate from its second batch (the first is traced) to its last, and the network's own share."""
    spec = build.batch_spec(config, info, "val", training=False)
    shards, size = info.shard_paths(config.data_dir, "val"), config.eval_batch_size
    batch = next(iter(pipeline.eval_batches(shards, spec, size)))
    del batch["image_id"]
    network = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    _seconds(lambda: network(batch))  # Traces.
    rates, shares = [], []
    for _ in range(3):
        starts = _starts_of_batches(lambda: scoring.evaluate(model, shards, spec, size))
        batches, whole = len(starts) - 2, starts[-1] - starts[1]
        alone = _seconds(lambda count=batches: [network(batch) for _ in range(count)])
        rates.append(batches * size / whole)
        shares.append(alone / whole)
    return {
        "evaluation_images_per_second": round(statistics.median(rates), 3),
        "network_share_of_evaluation": round(statistics.median(shares), 3),
    }


def _starts_of_batches(evaluate) -> list[float]:
    """When each batch of an evaluation began: there it looks whether it was asked to stop."""
    starts: list[float] = []
    with mock.patch.object(stopping, "check", lambda: starts.append(time.perf_counter())):
        evaluate()
    return starts


def _seconds(call):
    start = time.perf_counter()
    call()
    tf.test.experimental.sync_devices()
    return time.perf_counter() - start


if __name__ == "__main__":
    flags.DEFINE_string("settings", "configs/synthetic.flags", "Flag file of the network.")
    flags.DEFINE_multi_enum("modes", ["graph"], ["graph", "eager", "xla", "bfloat16"], "Ways to run it.")
    flags.DEFINE_integer("images", 64, "Pictures to render for each split.", lower_bound=12)
    flags.DEFINE_float("seconds", 60, "How long the measurement takes, at least.")
    flags.DEFINE_integer("rounds", 5, "Rounds of the measurement, at least.", lower_bound=1)
    app.run(main)
