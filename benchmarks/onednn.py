"""What oneDNN does for a network on this processor, turned off and on; prints one JSON object.

    python benchmarks/onednn.py [--settings=configs/synthetic.flags] [--isa=AVX2] [--rounds=7 --seconds=3]

Images a second of one image alone, of a batch at inference, and of training steps on a batch: loss terms, gradient,
check, update. oneDNN is chosen when TensorFlow starts, so each way has a process of its own; all are there from the
start and take turns. With --isa they do so once more with oneDNN's kernels held to those instructions, as on a
processor that has no others. (They serve products of matrices also where oneDNN is off.)

`dsg_tf.process.environment` turns oneDNN on or leaves the choice to TensorFlow by what this finds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import statistics
from collections.abc import Callable
from multiprocessing.pool import Pool
from unittest import mock

import machine
import settings
from absl import flags

from dsg_tf.process import command, environment

FLAGS = flags.FLAGS
ENTITIES, RELATIONS = 100, 70  # Of Visual Genome and VRD.
BOXES, TRUE_RELATIONS = 8, 16  # Of an image.
NATIVE = "native"  # Whatever instructions the processor has.


def define_flags(values: flags.FlagValues) -> None:
    flags.DEFINE_string("settings", "configs/synthetic.flags", "flag file of the network", flag_values=values)
    flags.DEFINE_integer("batch_size", 4, "images of a batch", lower_bound=1, flag_values=values)
    flags.DEFINE_list(
        "isa", [], "names that oneDNN knows as ONEDNN_MAX_CPU_ISA, such as AVX2: these too", flag_values=values
    )
    flags.DEFINE_integer("rounds", 7, "rounds in which all take turns", lower_bound=1, flag_values=values)
    flags.DEFINE_float("seconds", 3, "how long each turn takes, at least", flag_values=values)


def main() -> None:
    settings.of_flag_file(FLAGS.settings)  # What is wrong with it is told before processes start.
    instructions = [NATIVE, *FLAGS.isa]
    calls = {"one image": 1, "batch": FLAGS.batch_size, "training step": FLAGS.batch_size}
    rates: dict[str, dict[str, dict[str, list[float]]]] = {
        isa: {call: {"off": [], "on": []} for call in calls} for isa in instructions
    }
    with contextlib.ExitStack() as stack:
        ways = [(isa, state) for isa in instructions for state in ("off", "on")]
        processes = {way: stack.enter_context(_process(*way)) for way in ways}
        for _ in range(FLAGS.rounds):
            for call, images in calls.items():
                for (isa, state), process in processes.items():
                    arguments = (FLAGS.settings, FLAGS.batch_size, call, FLAGS.seconds)
                    rates[isa][call][state].append(images / process.apply(median_seconds, arguments))
    print(json.dumps(_report(rates), indent=2))


def _process(isa: str, state: str) -> Pool:
    """A process with oneDNN off or on; it has not imported TensorFlow yet."""
    variables = {environment.ONEDNN: "1" if state == "on" else "0"}
    if isa != NATIVE:
        variables["ONEDNN_MAX_CPU_ISA"] = isa
    with mock.patch.dict(os.environ, variables):
        return multiprocessing.get_context("spawn").Pool(1)


def _report(rates: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, object]:
    def of_each(function):
        return {isa: {call: function(found) for call, found in by_call.items()} for isa, by_call in rates.items()}

    def rounded(values):
        return [round(value, 2) for value in values]

    return {
        "settings": FLAGS.settings,
        "batch_size": FLAGS.batch_size,
        "on_by_default_here": environment.onednn_is_on(),
        "images_per_second": of_each(
            lambda found: {state: round(statistics.median(values), 2) for state, values in found.items()}
        ),
        "on / off": of_each(
            lambda found: round(statistics.median(on / off for on, off in zip(found["on"], found["off"])), 3)
        ),
        "raw_images_per_second": of_each(lambda found: {state: rounded(values) for state, values in found.items()}),
        "machine": machine.describe("tensorflow", "tf-models-official"),
    }


def median_seconds(path: str, batch_size: int, call: str, seconds: float) -> float:
    """How long a call takes in this process: the median of as many as fill so many seconds, of one at least."""
    import timing

    times = timing.in_turns({call: _calls(path, batch_size)[call]}, seconds, min_rounds=1)
    return statistics.median(times[call]) / 1000


@functools.lru_cache
def _calls(path: str, batch_size: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name; with random weights and inputs, but as many boxes as proposals can fill."""
    import tensorflow as tf

    from dsg_tf import build
    from dsg_tf.keras import keras
    from dsg_tf.training.gradients import Gradients
    from dsg_tf.training.train_step import TrainStep

    config = dataclasses.replace(settings.of_flag_file(path), init_checkpoint="", score_threshold=0.0)
    model = build.build_model(config, ENTITIES, RELATIONS)
    forward = tf.function(lambda inputs: model(inputs, training=False), autograph=False)
    gradients = Gradients(model, build.build_losses(config, RELATIONS), parts=config.accumulation)
    # Weights that stay as they are: many steps on random inputs would lead anywhere.
    optimizer = keras.optimizers.AdamW(0.0)
    step = TrainStep(gradients, optimizer, tf.distribute.get_strategy(), clip_norm=config.clip_norm)
    batch = _random_batch(config, batch_size)
    inputs = {name: batch[name] for name in ("image", "image_size", "queries")}
    first = {name: value[:1] for name, value in inputs.items()}
    return {"one image": lambda: forward(first), "batch": lambda: forward(inputs), "training step": lambda: step(batch)}


def _random_batch(config, size: int):
    """As of `pipeline.train_batches`, without padding."""
    import numpy as np
    import tensorflow as tf

    from dsg_tf import boxes as box_lib

    rng = np.random.default_rng(0)
    queries, image_size = config.max_queries, np.array(config.image_size)
    low = rng.uniform(0, 0.6, [size, BOXES, 2])
    corners = np.concatenate([low, low + rng.uniform(0.1, 0.4, low.shape)], axis=-1)
    triplets = lambda count, ends, middle: rng.integers(0, [ends, middle, ends], [size, count, 3])
    batch = {
        "image": rng.integers(0, 256, [size, *image_size, 3]).astype(np.uint8),
        "image_size": np.tile(image_size, [size, 1]).astype(np.float32),
        "original_size": np.tile(image_size, [size, 1]).astype(np.float32),
        "true_boxes": box_lib.scale(corners, image_size).astype(np.float32),
        "box_mask": np.ones([size, BOXES], bool),
        "entities": rng.integers(0, ENTITIES, [size, BOXES]).astype(np.int32),
        "relations": triplets(TRUE_RELATIONS, BOXES, RELATIONS).astype(np.int32),
        "queries": triplets(queries, ENTITIES, RELATIONS).astype(np.int32),
        "query_mask": np.ones([size, queries], bool),
        "query_holds": np.ones([size, queries], bool),
        "subject_of": rng.random([size, queries, BOXES]) < 0.2,
        "object_of": rng.random([size, queries, BOXES]) < 0.2,
        "seed": rng.integers(0, 2**31, [size, 2]).astype(np.int32),
    }
    return {name: tf.constant(value) for name, value in batch.items()}


if __name__ == "__main__":
    command.run("onednn", define_flags, main, batches=lambda: False, stoppable=False)
