"""The evaluations on the validation split that training makes on its way."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from dsg_tf import build
from dsg_tf.config import Config
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import gallery, scoring
from dsg_tf.objectives import score_bins
from dsg_tf.training import tensorboard

NUM_FIGURES = 6


class Validation:
    """Evaluates on the validation split during training and shows the result in TensorBoard."""

    def __init__(self, config: Config, info: DatasetInfo, chief: bool = True):
        self.config, self.info = config, info
        self.writer = (
            tf.summary.create_file_writer(os.path.join(config.model_dir, "val"))
            if chief
            else tf.summary.create_noop_writer()
        )

    def __call__(self, model, step: int) -> dict[str, float]:
        if "val" not in self.info.splits:
            return {}
        config, shards = self.config, self.info.shard_paths(self.config.data_dir, "val")
        spec = build.batch_spec(config, self.info, "val", training=False)
        result = scoring.evaluate(
            model, shards, spec, config.eval_batch_size, config.eval_images, count=score_bins.count
        )
        drawn = gallery.figures(model, result, shards, spec, self.info.vocabulary, NUM_FIGURES)
        summary = result.summary()
        scalars = {
            name: summary[name]
            for name in ("subject_iou", "object_iou", "proposal_recall")
            if summary[name] is not None
        }
        with self.writer.as_default():
            for name, value in scalars.items():
                tf.summary.scalar(f"metric/{name}", value, step=step)
            for name, picture in drawn.items():
                tf.summary.image(name, np.asarray(picture)[np.newaxis], step=step)
            tensorboard.write_scores(result.counts, self.info.vocabulary, step)
        return scalars
