"""Images a second of the training input pipeline, on one core and on more; prints one JSON object.

    python benchmarks/input_pipeline.py [--data_dir=DIR] [--height=608 --width=800]

Without a data set it renders a few synthetic pictures and reads them again and again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import tempfile
import time

import machine
import tensorflow as tf
from absl import app, flags

from dsg_tf.data import pipeline, records, synthetic

FLAGS = flags.FLAGS
flags.DEFINE_string("data_dir", None, "Prepared data set; none: rendered pictures of 240 x 320.")
flags.DEFINE_string("split", "train", "Split to read.")
flags.DEFINE_integer("batch_size", 8, "Images a batch.")
flags.DEFINE_integer("height", 240, "Height of the network input; also the short side.")
flags.DEFINE_integer("width", 320, "Width of the network input; also the long side.")
flags.DEFINE_float("color_jitter", 0.0, "Strength of the colour jitter.")
flags.DEFINE_integer("max_queries", 16, "Queries sampled from an image.")
flags.DEFINE_list("cores", ["1", "2"], "Numbers of cores to measure on.")
flags.DEFINE_float("seconds", 5, "How long to measure, on each number of cores.")

_RENDERED = 48


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        files, num_examples, max_boxes, max_relations, flipped = _data(folder)
        spec = pipeline.InputSpec(
            image_size=(FLAGS.height, FLAGS.width),
            short_side=FLAGS.height,
            long_side=FLAGS.width,
            max_boxes=max_boxes,
            max_relations=max_relations,
            max_queries=FLAGS.max_queries,
            flipped_relations=flipped,
            color_jitter=FLAGS.color_jitter,
        )
        here = os.sched_getaffinity(0)
        rates = {}
        for cores in map(int, FLAGS.cores):
            if cores > len(here):
                raise app.UsageError(f"--cores={cores}, but this process may use {len(here)}")
            # TensorFlow counts the cores once, when it starts: so a new process for each number.
            os.sched_setaffinity(0, sorted(here)[:cores])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                arguments = (files, spec, FLAGS.batch_size, num_examples, FLAGS.seconds)
                rates[cores] = round(pool.apply(images_per_second, arguments), 1)
            os.sched_setaffinity(0, here)
    print(json.dumps(_report(num_examples, rates), indent=2))


def images_per_second(files, spec, batch_size, num_examples, seconds):
    """Reads batches for `seconds` and does nothing with them."""
    batches = iter(pipeline.train_batches(files, spec, batch_size, 0, 0, num_examples))
    for _ in range(20):  # The degree of parallelism tunes itself first.
        next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(batches)
        count += batch_size
    return count / (time.perf_counter() - start)


def _data(folder):
    """(files, number of examples, most boxes, most relations, flipped relations)."""
    if FLAGS.data_dir:
        info = records.DatasetInfo.load(FLAGS.data_dir)
        files = info.shard_paths(FLAGS.data_dir, FLAGS.split)
        split = info.splits[FLAGS.split]
        flipped = info.vocabulary.flipped_relations()
        return files, split.num_images, split.max_boxes, split.max_relations, flipped
    scenes = [synthetic.render_scene(0, index) for index in range(_RENDERED)]
    path = os.path.join(folder, "rendered.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for scene in scenes:
            writer.write(records.scene_to_example(scene).SerializeToString())
    boxes = max(len(scene.boxes) for scene in scenes)
    relations = max(len(scene.relations) for scene in scenes)
    return [path], _RENDERED, boxes, relations, synthetic.VOCABULARY.flipped_relations()


def _report(num_examples, rates):
    return {
        "images_per_second_by_cores": rates,
        "data": FLAGS.data_dir or "rendered",
        "num_examples": num_examples,
        "batch_size": FLAGS.batch_size,
        "image_size": [FLAGS.height, FLAGS.width],
        "color_jitter": FLAGS.color_jitter,
        "machine": machine.describe("tensorflow", "numpy"),
    }


if __name__ == "__main__":
    app.run(main)
