"""What a detector of COCO and the exact rule of the relations answer, without learning; prints one JSON object.

    python benchmarks/detector_rule.py [--data_dir=data/coco_photos] [--split=val] [--score_threshold=0.3]

A two-step system by hand: the boxes of NanoDet-Plus, suppressed class by class, and of them all pairs of the query's
classes that stand in its relation; where no pair of sure boxes does, the surest that does, and where none does, the
surest box of each class. The score is the program's own. What a network learns has to be more than this.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import itertools
import json

import machine
import numpy as np
import settings
import tensorflow as tf
from absl import app, flags, logging

from dsg_tf import boxes as box_lib
from dsg_tf import build, checkpoints
from dsg_tf.data.batches import pipeline
from dsg_tf.data.prepare.coco import relation_between
from dsg_tf.data.records import DatasetInfo
from dsg_tf.objectives import metrics

FLAGS = flags.FLAGS
LEAST_SCORE = 0.05  # Of boxes that answer where no sure ones do.
MAX_BOXES = 300


def main(_):
    logging.set_verbosity(logging.WARNING)
    config = settings.of_flag_file("configs/coco_photos.flags")
    info = DatasetInfo.load(FLAGS.data_dir)
    model = build.build_model(config, len(info.vocabulary.entities), len(info.vocabulary.relations))
    checkpoints.initialize(model, config.init_checkpoint, config.init_modules)
    files, spec = info.shard_paths(FLAGS.data_dir, FLAGS.split), build.batch_spec(config, info, FLAGS.split, False)
    found: dict[str, list] = {"subject_iou": [], "object_iou": []}
    for batch in pipeline.eval_batches(files, spec, batch_size=1):
        scores = metrics.referring_iou(answers(detections(model, batch), batch, info.vocabulary.relations), batch)
        for name, values in found.items():
            values.extend(scores[name].numpy()[batch["query_mask"].numpy()].tolist())
    report = {"machine": machine.describe("tensorflow"), "queries": len(found["subject_iou"])}
    for name, values in found.items():
        report[name] = {"mean": np.mean(values), "standard_error": np.std(values) / len(values) ** 0.5}
    print(json.dumps(report, indent=1))


def detections(model, batch):
    """Boxes, classes and scores of the one image, best first."""
    detector = model.detector
    levels = detector.backbone(detector.normalize(batch["image"], batch["image_size"]))
    head = detector.rpn_head({name: value for name, value in levels.items() if name != "2"})
    boxes = box_lib.clip(head["anchors"], batch["image_size"])[0].numpy()
    scores = tf.sigmoid(head["class_logits"])[0].numpy()
    points, classes = np.nonzero(scores >= min(LEAST_SCORE, FLAGS.score_threshold))
    kept: list[int] = []
    for category in np.unique(classes):
        of_class = np.flatnonzero(classes == category)
        best = tf.image.non_max_suppression(
            boxes[points[of_class]], scores[points[of_class], category], MAX_BOXES, FLAGS.nms_iou
        )
        kept.extend(of_class[best.numpy()])
    points, classes = points[kept], classes[kept]
    order = np.argsort(-scores[points, classes], kind="stable")[:MAX_BOXES]
    return boxes[points[order]], classes[order], scores[points[order], classes[order]]


def answers(detected, batch, relations):
    """The outputs that the metric takes, of one image."""
    boxes, classes, scores = detected
    shape = [1, batch["queries"].shape[1], max(len(boxes), 1)]
    masks = {"subject_mask": np.zeros(shape, bool), "object_mask": np.zeros(shape, bool)}
    for number, (subject, relation, object_) in enumerate(batch["queries"][0].numpy()):
        for of_subject, of_object in pairs(boxes, classes, scores, subject, relations[relation], object_):
            masks["subject_mask"][0, number, of_subject] = masks["object_mask"][0, number, of_object] = True
    all_boxes = np.zeros([1, shape[2], 4], np.float32)
    all_boxes[0, : len(boxes)] = boxes
    return {"boxes": tf.constant(all_boxes), **masks}


def pairs(boxes, classes, scores, subject: int, relation: str, object_: int):
    """The pairs of numbers of boxes that answer a query; slices of no box where a class has none."""
    subjects, objects = np.flatnonzero(classes == subject), np.flatnonzero(classes == object_)
    related = [
        (i, j)
        for i, j in itertools.product(subjects, objects)
        if i != j and relation_between(boxes[i], boxes[j]) == relation
    ]
    sure = [(i, j) for i, j in related if min(scores[i], scores[j]) >= FLAGS.score_threshold]
    if related:
        return sure or [max(related, key=lambda pair: scores[pair[0]] * scores[pair[1]])]
    return [(subjects[:1], objects[:1])]  # Boxes come best first.


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", "data/coco_photos", "Prepared photographs of COCO's classes.")
    flags.DEFINE_string("split", "val", "Split to score.")
    flags.DEFINE_float("score_threshold", 0.3, "Score from which on a box is sure.")
    flags.DEFINE_float("nms_iou", 0.5, "Threshold of the suppression.")
    app.run(main)
