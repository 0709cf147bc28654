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
from absl import flags

from dsg_tf.process import command

FLAGS = flags.FLAGS
_RENDERED = 48


def define_flags(values: flags.FlagValues) -> None:
    def integer(name, default, text):
        flags.DEFINE_integer(name, default, text, lower_bound=1, flag_values=values)

    flags.DEFINE_string("data_dir", None, "prepared data set; none: rendered pictures of 240 x 320", flag_values=values)
    flags.DEFINE_string("split", "train", "split to read", flag_values=values)
    integer("batch_size", 8, "images a batch")
    integer("height", 240, "height of the network input; also the short side")
    integer("width", 320, "width of the network input; also the long side")
    flags.DEFINE_float("color_jitter", 0.0, "strength of the colour jitter", flag_values=values)
    integer("max_queries", 16, "queries sampled from an image")
    flags.DEFINE_list("cores", ["1", "2"], "numbers of cores to measure on", flag_values=values)
    flags.DEFINE_float("seconds", 5, "how long to measure, on each number of cores", flag_values=values)


def main() -> None:
    from dsg_tf.data.batches.batch_spec import BatchSpec
    from dsg_tf.data.batches.network_input import Resize

    with tempfile.TemporaryDirectory() as folder:
        files, num_examples, max_boxes, max_relations, flipped = _data(folder)
        spec = BatchSpec(
            Resize((FLAGS.height, FLAGS.width), short_side=FLAGS.height, long_side=FLAGS.width),
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
                raise ValueError(f"--cores={cores}, but this process may use {len(here)}")
            # TensorFlow counts the cores once, when it starts: so a new process for each number.
            os.sched_setaffinity(0, sorted(here)[:cores])
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                arguments = (files, spec, FLAGS.batch_size, num_examples, FLAGS.seconds)
                rates[cores] = round(pool.apply(images_per_second, arguments), 1)
            os.sched_setaffinity(0, here)
    print(json.dumps(_report(num_examples, rates), indent=2))


def images_per_second(files, spec, batch_size: int, num_examples: int, seconds: float) -> float:
    """Reads batches for `seconds` and does nothing with them."""
    from dsg_tf.data.batches import pipeline

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
    import tensorflow as tf

    from dsg_tf.data import records
    from dsg_tf.data.synthetic import scenes as synthetic

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
    command.run("input_pipeline", define_flags, main, stoppable=False)
