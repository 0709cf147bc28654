"""Which share of the true boxes the proposals of a model find, by their number and by size; prints one JSON object.

    python benchmarks/proposal_recall.py --model_dir=models/vrd_photos --data_dir=data/vrd_small [--split=val]
    python benchmarks/proposal_recall.py --config=configs/vrd_small.flags --data_dir=data/vrd_small

With --config it is the detector that a training of that flag file starts from. A box is found by a proposal with an
IoU of at least 0.5. Sizes are COCO's, in pixels of the pictures as they were prepared: small is less than 32 x 32,
large at least 96 x 96.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import json

import machine
import numpy as np
import settings
import tensorflow as tf
from absl import app, flags, logging

from dsg_tf import boxes as box_lib
from dsg_tf import build, checkpoints
from dsg_tf.data.batches import pipeline
from dsg_tf.data.records import DatasetInfo

FLAGS = flags.FLAGS
NUMBERS = (16, 32, 48, 64, 100, 300)
SIZES = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, np.inf)}
FOUND = 0.5  # IoU.


def main(_):
    logging.set_verbosity(logging.WARNING)
    info = DatasetInfo.load(FLAGS.data_dir)
    detector, config = load(info)
    detector.selection = dataclasses.replace(
        detector.selection, num_boxes=max(NUMBERS), pre_nms_top_k=1000, score_threshold=0.0
    )
    propose = tf.function(lambda *inputs: detector(*inputs)["proposals"], autograph=False)
    spec = build.batch_spec(config, info, FLAGS.split, training=False)
    found_areas, found_first = [], []
    for batch in pipeline.eval_batches(info.shard_paths(FLAGS.data_dir, FLAGS.split), spec, batch_size=1):
        overlaps = box_lib.iou(propose(batch["image"], batch["image_size"]), batch["true_boxes"])[0].numpy()
        there = batch["box_mask"][0].numpy()
        sides = (batch["true_boxes"][0, :, 2:] - batch["true_boxes"][0, :, :2]).numpy()
        found_areas.extend((sides * (batch["original_size"] / batch["image_size"])[0].numpy()).prod(axis=1)[there])
        # The number of the first proposal that finds a box; beyond the last one where none does.
        finds = np.concatenate([overlaps >= FOUND, np.ones([1, len(there)], bool)])
        found_first.extend(finds.argmax(axis=0)[there])
    areas, first = np.array(found_areas), np.array(found_first)
    report = {"machine": machine.describe("tensorflow"), "boxes": len(first), "recall": recall(first)}
    for name, (least, below) in SIZES.items():
        of_size = (areas >= least) & (areas < below)
        report[name] = {"boxes": int(of_size.sum()), "recall": recall(first[of_size])}
    print(json.dumps(report, indent=1))


def load(info: DatasetInfo):
    """The detector, and the settings of its input."""
    if FLAGS.model_dir:
        model, config, *_ = checkpoints.load_model(FLAGS.model_dir)
    else:
        config = settings.of_flag_file(FLAGS.config)
        model = build.build_model(config, len(info.vocabulary.entities), len(info.vocabulary.relations))
        checkpoints.initialize(model, config.init_checkpoint, config.init_modules)
    return model.detector, config


def recall(first: np.ndarray) -> dict[int, float | None]:
    """By number of proposals, the share of boxes that one of the first so many finds."""
    return {number: round(float((first < number).mean()), 4) if len(first) else None for number in NUMBERS}


if __name__ == "__main__":
    flags.DEFINE_string("model_dir", None, "Model whose proposals are counted.")
    flags.DEFINE_string("config", None, "Flag file in its place: what a training starts from.")
    flags.DEFINE_string("data_dir", None, "Prepared data.", required=True)
    flags.DEFINE_string("split", "val", "Split to count on.")
    flags.mark_flags_as_mutual_exclusive(["model_dir", "config"], required=True)
    app.run(main)
