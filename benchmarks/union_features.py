"""Features of the union boxes of all pairs, in five ways: time, gradient and peak memory; prints one JSON object.

    python benchmarks/union_features.py [--boxes=8,16,32,64,128] [--seconds=10]

- textbook: crop_and_resize to 7 x 7, 1x1 convolution and mean, for each of the n^2 ordered pairs.
- crop_and_resize, matmul, integral: this program's --roi_op; each unordered pair once.
- roi_align: Model Garden's multilevel_crop_and_resize, 1x1 convolution and mean; each unordered pair once.

"gradient" is forward and backward, with respect to the map and the kernel. Ways that crop stop at --largest_crops
boxes: their memory grows with n^2 times the map's channels.

Peak memory is what one call adds to a fresh process: on CPUs the peak of its resident memory after the call less the
resident memory before it (Linux, /proc), on a GPU TensorFlow's own peak of the device.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As train.py does.

import itertools
import json
import multiprocessing
from typing import Any

import machine
import numpy as np
import tensorflow as tf
import timing
from absl import app, flags
from official.vision.ops import spatial_transform_ops

from dsg_tf import boxes as box_lib
from dsg_tf.keras import keras
from dsg_tf.model import pooling, regions, unordered_pairs

tf.get_logger().setLevel("ERROR")  # It warns of functions in a loop.
FLAGS = flags.FLAGS
LEVEL = 4  # Stride 16.
CROPPING, FAST = ("textbook", "crop_and_resize", "roi_align"), ("matmul", "integral")


def main(_):
    size = tuple(map(int, FLAGS.map_size))
    report: dict[str, Any] = {
        "map_size": size,
        "features": FLAGS.features,
        "by_boxes": {},
        "machine": machine.describe("tensorflow", "tf-models-official"),
    }
    for count in map(int, FLAGS.boxes):
        report["by_boxes"][count] = _measure(count, size, crops=count <= FLAGS.largest_crops)
    if FLAGS.memory_boxes:
        report["memory"] = _memory(FLAGS.memory_boxes, size)
    print(json.dumps(report, indent=2))


def _measure(count: int, size: tuple[int, ...], crops: bool) -> dict[str, Any]:
    inputs = _inputs(count, size)
    names = (*CROPPING, *FAST) if crops else FAST
    ways = {name: make(name, inputs, FLAGS.features) for name in names}
    results = {name: forward(*inputs).numpy() for name, (forward, _) in ways.items()}
    for name, value in results.items():
        if name not in ("integral", "roi_align"):  # These are other means.
            np.testing.assert_allclose(value, results["matmul"], atol=1e-3, rtol=1e-3, err_msg=name)
    found: dict[str, Any] = {
        "largest_difference_to_matmul": {
            name: round(float(np.abs(value - results["matmul"]).max()), 6) for name, value in results.items()
        }
    }
    for kind, index in (("forward", 0), ("gradient", 1)):
        calls = {name: lambda call=way[index]: call(*inputs) for name, way in ways.items()}
        times = timing.in_turns(calls, FLAGS.seconds, FLAGS.rounds)
        found[kind] = {
            **timing.report(times),
            "ratios": {
                f"{slow} / {fast}": timing.ratio(times, slow, fast)
                for slow, fast in itertools.product(names, FAST)
                if slow != fast
            },
        }
    return found


def make(name, inputs, features):
    """Compiled functions of a map and boxes: union features `[1, n, n, D]`, and their gradient."""
    layer = _layer(name, features)

    # AutoGraph, which has nothing to do here, fails on classes of a script that a spawned process imports.
    @tf.function(autograph=False)
    def gradient(feature_map, boxes):
        with tf.GradientTape() as tape:
            tape.watch(feature_map)
            pooled = layer(feature_map, boxes, training=True)
            value = tf.reduce_sum(tf.sin(pooled))  # Its gradient needs the features, as a loss's does.
        return tape.gradient(value, [feature_map, *layer.trainable_variables])

    forward = tf.function(layer, autograph=False)
    forward.get_concrete_function(*inputs)  # Makes the variables.
    rng = np.random.default_rng(0)
    layer.set_weights([rng.normal(size=value.shape) / 50 for value in layer.get_weights()])
    return forward, gradient


def _layer(name, features):
    if name == "textbook":
        return Textbook(features)
    return RoiAlign(features) if name == "roi_align" else ProgramsOwn(features, name)


class ProgramsOwn(keras.layers.Layer):
    """`PairFeatures`."""

    def __init__(self, features, op):
        super().__init__()
        self.pairs = regions.PairFeatures(features, op=op)

    def call(self, feature_map, boxes, training=False):
        return unordered_pairs.spread(self.pairs({LEVEL: feature_map}, boxes, training=training)[0])


class Textbook(keras.layers.Layer):
    """A crop of every ordered pair, as one writes it first."""

    def __init__(self, features):
        super().__init__()
        self.pooling = pooling.RegionPooling(features, op="crop_and_resize")

    def call(self, feature_map, boxes, training=False):
        count = boxes.shape[1]
        unions = box_lib.union(boxes[:, :, tf.newaxis], boxes[:, tf.newaxis])
        pooled = self.pooling({LEVEL: feature_map}, tf.reshape(unions, [1, count**2, 4]))
        return tf.reshape(pooled, [1, count, count, -1])


class RoiAlign(keras.layers.Layer):
    """Model Garden's ROI-Align."""

    def __init__(self, features):
        super().__init__()
        self.convolution = keras.layers.Dense(features)

    def call(self, feature_map, boxes, training=False):
        count = boxes.shape[1]
        first, second = unordered_pairs.indices(count)
        unions = box_lib.union(tf.gather(boxes, first, axis=1), tf.gather(boxes, second, axis=1))
        crops = spatial_transform_ops.multilevel_crop_and_resize({str(LEVEL): feature_map}, unions, pooling.SAMPLES)
        pooled = tf.reduce_mean(self.convolution(crops), axis=(2, 3))
        return unordered_pairs.spread(pooled)


def _inputs(count, size):
    rng = np.random.default_rng(0)
    height, width, channels = size
    limits = np.array([height, width]) * 2.0**LEVEL
    low = rng.uniform(0, 0.7, [1, count, 2])
    boxes = box_lib.scale(np.concatenate([low, low + rng.uniform(0.05, 0.3, low.shape)], -1), limits)
    return tf.constant(rng.normal(size=[1, height, width, channels]), tf.float32), tf.constant(boxes, tf.float32)


def _memory(count: int, size: tuple[int, ...]) -> dict[str, Any]:
    """MiB that a call adds, in a process of its own for each."""
    found: dict[str, Any] = {"boxes": count, "how": "device" if tf.config.list_physical_devices("GPU") else "resident"}
    context = multiprocessing.get_context("spawn")
    for index, kind in enumerate(("forward", "gradient")):
        found[kind] = {}
        for name in (*CROPPING, *FAST):
            with context.Pool(1) as pool:
                found[kind][name] = round(pool.apply(_added_memory, (name, index, count, size, FLAGS.features)), 1)
    found["ratios"] = {
        f"{kind}, {slow} / {fast}": round(found[kind][slow] / found[kind][fast], 2)
        for kind in ("forward", "gradient")
        for slow in CROPPING
        for fast in FAST
    }
    return found


def _added_memory(name, index, count, size, features):
    """MiB that one call adds to what this process holds before it."""
    inputs = _inputs(count, size)
    call = make(name, inputs, features)[index].get_concrete_function(*inputs)
    if tf.config.list_physical_devices("GPU"):
        tf.config.experimental.reset_memory_stats("GPU:0")
        before = tf.config.experimental.get_memory_info("GPU:0")["current"]
        call(*inputs)
        tf.test.experimental.sync_devices()
        return (tf.config.experimental.get_memory_info("GPU:0")["peak"] - before) / 2**20
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")  # The peak begins anew.
    before = _resident("VmRSS")
    call(*inputs)
    return _resident("VmHWM") - before


def _resident(field: str) -> float:
    """MiB."""
    with open("/proc/self/status", encoding="utf-8") as file:
        kilobytes = dict(line.split(":", 1) for line in file)[field]
    return int(kilobytes.removesuffix(" kB\n")) / 1024


if __name__ == "__main__":
    flags.DEFINE_list("boxes", ["8", "16", "32", "64", "128"], "Numbers of boxes, n.")
    flags.DEFINE_list("map_size", ["38", "50", "2048"], "Height, width and channels of the map.")
    flags.DEFINE_integer("features", 512, "D, features of a pair.")
    flags.DEFINE_integer("largest_crops", 32, "Most boxes of the ways that crop.")
    flags.DEFINE_integer("memory_boxes", 32, "Boxes of the memory measurement; 0: none.")
    flags.DEFINE_float("seconds", 10, "How long each measurement takes, at least.")
    flags.DEFINE_integer("rounds", 5, "Rounds of each measurement, at least.", lower_bound=1)
    app.run(main)
