"""How the times of the parts grow with the boxes n and with the queries Q; prints one JSON object.

    python benchmarks/scaling.py [--boxes=8,16,32,64,128 --queries=16,64,256,1024] [--seconds=10]

The exponent is the slope of a straight line through the logarithms of the medians: 1 grows in proportion, 2 with the
square. The last two sizes give one of their own, since small sizes pay what every call costs.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As train.py does.

import functools
import json
import statistics
from collections.abc import Callable

import machine
import numpy as np
import tensorflow as tf
import timing
from absl import app, flags

from dsg_tf import boxes as box_lib
from dsg_tf.model import gpi, heads, regions

FLAGS = flags.FLAGS
LEVEL, ENTITIES, RELATIONS = 4, 100, 70
STRIDE = 2**LEVEL
COORDINATES, NODE_UNITS = 4, 1024
RNG = np.random.default_rng(0)


def main(_):
    boxes, queries = (sorted(map(int, values)) for values in (FLAGS.boxes, FLAGS.queries))
    calls: dict[str, Callable[[], object]] = {}
    for count in boxes:
        calls |= {f"{name}, n = {count}": call for name, call in _of_boxes(count).items()}
    for count in queries:
        calls[f"classifier, Q = {count}"] = _classifier(count, FLAGS.classifier_boxes)
    times = timing.in_turns(calls, FLAGS.seconds * len(calls), FLAGS.rounds)
    report = {
        "exponents": {},
        "classifier_boxes": FLAGS.classifier_boxes,
        "machine": machine.describe("tensorflow"),
        **timing.report(times),
    }
    for name, letter, sizes in (
        *((part, "n", boxes) for part in ("matmul", "integral", "graph layer")),
        ("classifier", "Q", queries),
    ):
        medians = [statistics.median(times[f"{name}, {letter} = {size}"]) for size in sizes]
        report["exponents"][f"{name} in {letter}"] = {
            "all": _exponent(sizes, medians),
            "last_two": _exponent(sizes[-2:], medians[-2:]),
        }
    print(json.dumps(report, indent=2))


def _exponent(sizes, milliseconds):
    return round(float(np.polyfit(np.log(sizes), np.log(milliseconds), 1)[0]), 2)


def _of_boxes(count: int) -> dict[str, Callable[[], object]]:
    """Union features, the convolution of the map included, and the graph layer."""
    height, width, channels = map(int, FLAGS.map_size)
    feature_map = _random(1, height, width, channels)
    low = RNG.uniform(0, 0.7, [1, count, 2])
    corners = np.concatenate([low, low + RNG.uniform(0.05, 0.3, low.shape)], -1)
    boxes = tf.constant(box_lib.scale(corners, np.array([height, width]) * STRIDE), tf.float32)
    calls: dict[str, Callable[[], object]] = {}
    for op in ("matmul", "integral"):
        pairs = tf.function(regions.PairFeatures(FLAGS.units, op=op))
        calls[op] = functools.partial(pairs, {LEVEL: feature_map}, boxes)
    layer = tf.function(
        gpi.GraphLayer(
            hidden_units=FLAGS.units,
            units=FLAGS.units,
            node_units=NODE_UNITS,
            attention="feature",
            unordered_edges=True,
        )
    )
    nodes = _random(1, count, FLAGS.units + COORDINATES)
    edges = _random(1, count * (count + 1) // 2, FLAGS.units + COORDINATES)
    valid = tf.ones([1, count], tf.bool)
    calls["graph layer"] = functools.partial(layer, nodes, edges, valid)
    return calls


def _classifier(queries, count):
    layer = tf.function(heads.ReferringClassifier(ENTITIES, RELATIONS, FLAGS.units))
    encoded = {"nodes": _random(1, count, NODE_UNITS), "valid": tf.ones([1, count], tf.bool)}
    asked = tf.constant(RNG.integers(0, RELATIONS, [1, queries, 3]), tf.int32)
    return lambda: layer(encoded, asked)


def _random(*shape):
    return tf.constant(RNG.normal(size=shape), tf.float32)


if __name__ == "__main__":
    flags.DEFINE_list("boxes", ["8", "16", "32", "64", "128"], "Numbers of boxes, n; at least two.")
    flags.DEFINE_list("queries", ["16", "64", "256", "1024"], "Numbers of queries, Q; at least two.")
    flags.DEFINE_integer("classifier_boxes", 32, "Boxes while Q grows.", lower_bound=1)
    flags.DEFINE_list("map_size", ["38", "50", "2048"], "Height, width and channels of the map.")
    flags.DEFINE_integer("units", 512, "D, and hidden units.", lower_bound=1)
    flags.DEFINE_float("seconds", 2, "How long the measurement takes, at least, for each part and size.")
    flags.DEFINE_integer("rounds", 5, "Rounds of the measurement, at least.", lower_bound=1)
    app.run(main)
