"""What the graph costs (the paper, Table 3): parameters, operations and time, with it and without."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.config import Config

RUNS = 15


def analyze(config: Config, num_entities: int, num_relations: int, num_queries: int = 16) -> dict[str, Any]:
    """Compares `config.model` with NO-DSG at inference, one image at a time, interleaved.

    Returns:
      {system: {"parameters", "giga_operations", "seconds_per_image"}} for both (medians of interleaved runs), and
      `time_ratio`, the median of the ratios of neighbouring runs. Operations are TensorFlow's profiler's: a
      multiplication and an addition count as two.
    """
    rng = np.random.default_rng(0)
    height, width = config.image_size
    inputs = {
        "image": tf.constant(rng.integers(0, 256, [1, height, width, 3]), tf.uint8),
        "image_size": tf.constant([[height, width]], tf.float32),
        "queries": tf.zeros([1, num_queries, 3], tf.int32),
    }
    report: dict[str, Any] = {}
    functions = {}
    for name in dict.fromkeys((config.model, "no_dsg")):
        model = build.build_model(config_lib.for_system(config, name), num_entities, num_relations)
        function = functions[name] = _inference(model).get_concrete_function(inputs)
        report[name] = {
            "parameters": build.count_parameters(model)["total"],
            "giga_operations": _operations(function) / 1e9,
        }
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(RUNS + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function(inputs)
            if run >= 2:  # The first runs allocate.
                seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        report[name]["seconds_per_image"] = float(np.median(values))
    report["time_ratio"] = float(np.median(np.array(seconds[config.model]) / np.array(seconds["no_dsg"])))
    return report


def _inference(model):
    return tf.function(lambda inputs: model(inputs, training=False), autograph=False)


def _operations(function) -> int:
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return tf.compat.v1.profiler.profile(function.graph, options=options).total_float_ops
