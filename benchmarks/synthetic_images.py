"""Synthetic images rendered a second, on one core; prints one JSON object.

    python benchmarks/synthetic_images.py [--num_images=50 --repeats=5] [--height=240 --width=320]

The rate per core counts the time that the process computes, so that other work on the machine does not count; the wall
rate counts it. Both are medians over the repeats, which all render the same scenes.
"""

from __future__ import annotations

import json
import os
import statistics
import time

import machine
from absl import flags

from dsg_tf.process import command

FLAGS = flags.FLAGS


def define_flags(values: flags.FlagValues) -> None:
    for name, default, text, minimum in (
        ("num_images", 50, "images a repeat", 1),
        ("repeats", 5, "repeats, of which the median counts", 1),
        ("height", 240, "height of the images, pixels", 1),
        ("width", 320, "width of the images, pixels", 1),
        ("seed", 0, "seed of the scenes", 0),
    ):
        flags.DEFINE_integer(name, default, text, lower_bound=minimum, flag_values=values)


def main() -> None:
    # A core is one thread; numpy's BLAS reads these when numpy is first imported.
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    render(1)  # The first image also pays for what is set up once.
    rates = [render(FLAGS.num_images) for _ in range(FLAGS.repeats)]
    per_core, wall = zip(*rates)
    print(
        json.dumps(
            {
                "images_per_second_per_core": round(statistics.median(per_core), 1),
                "images_per_second_wall": round(statistics.median(wall), 1),
                "repeats_per_core": [round(rate, 1) for rate in per_core],
                "image_size": [FLAGS.height, FLAGS.width],
                "num_images": FLAGS.num_images,
                "seed": FLAGS.seed,
                "machine": machine.describe("numpy", "Pillow"),
            },
            indent=2,
        )
    )


def render(count: int) -> tuple[float, float]:
    """Renders scenes 0 to `count`: images a second of computing, and of wall time."""
    from dsg_tf.data.synthetic import scenes

    computed, started = time.process_time(), time.perf_counter()
    for index in range(count):
        scenes.render_scene(FLAGS.seed, index, FLAGS.height, FLAGS.width)
    return count / (time.process_time() - computed), count / (time.perf_counter() - started)


if __name__ == "__main__":
    command.run("synthetic_images", define_flags, main, stoppable=False)
