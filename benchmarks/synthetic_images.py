"""Synthetic images rendered a second, on one core; prints one JSON object.

    python benchmarks/synthetic_images.py [--num_images=50 --repeats=5] [--height=240 --width=320]

The rate per core counts the time that the process computes, so that other work on the machine does not count; the wall
rate counts it. Both are medians over the repeats, which all render the same scenes.
"""

from __future__ import annotations

import os

# A core is one thread; numpy's BLAS reads these when numpy is first imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import json
import statistics
import time

import machine
from absl import app, flags

from dsg_tf.data import synthetic

FLAGS = flags.FLAGS
flags.DEFINE_integer("num_images", 50, "Images a repeat.", lower_bound=1)
flags.DEFINE_integer("repeats", 5, "Repeats, of which the median counts.", lower_bound=1)
flags.DEFINE_integer("height", 240, "Height of the images, pixels.", lower_bound=1)
flags.DEFINE_integer("width", 320, "Width of the images, pixels.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the scenes.", lower_bound=0)


def main(_):
    render(1)  # The first image also pays for what is set up once.
    rates = [render(FLAGS.num_images) for _ in range(FLAGS.repeats)]
    per_core, wall = zip(*rates)
    print(json.dumps({
        "images_per_second_per_core": round(statistics.median(per_core), 1),
        "images_per_second_wall": round(statistics.median(wall), 1),
        "repeats_per_core": [round(rate, 1) for rate in per_core],
        "image_size": [FLAGS.height, FLAGS.width],
        "num_images": FLAGS.num_images,
        "seed": FLAGS.seed,
        "machine": machine.describe("numpy", "Pillow"),
    }, indent=2))


def render(count: int) -> tuple[float, float]:
    """Renders scenes 0 to ``count``: images a second of computing, and of wall time."""
    computed, started = time.process_time(), time.perf_counter()
    for index in range(count):
        synthetic.render_scene(FLAGS.seed, index, FLAGS.height, FLAGS.width)
    return count / (time.process_time() - computed), count / (time.perf_counter() - started)


if __name__ == "__main__":
    app.run(main)
