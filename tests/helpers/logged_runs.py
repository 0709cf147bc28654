"""Two short runs as a comparison leaves them for TensorBoard: validations, texts, scalars and final scores."""

from __future__ import annotations

import os
import tempfile

import tensorflow as tf
import tiny
import tiny_data

from dsg_tf.compare import hparams_page
from dsg_tf.process import files
from dsg_tf.training import run, tensorboard

STEP = 5  # Of the validation.
RATES = (1e-2, 1e-3)  # By seed.


def write(folder: str) -> None:
    """Writes the runs to `folder`; only the first one validates."""
    with tempfile.TemporaryDirectory() as data_dir:
        info = tiny_data.write(data_dir)
        for seed in range(len(RATES)):
            config = settings(folder, seed, data_dir=data_dir)
            if seed == 0:
                validation = run.Validation(config, info)
                validation(tiny.model(config), STEP)
                validation.writer.close()
            with tf.summary.create_file_writer(os.path.join(config.model_dir, "train")).as_default():
                tensorboard.write_run(config, info, step=0)
                for step in range(1, 9):
                    tf.summary.scalar("input/wait_share", step / 10, step=step)
            write_scores(config, seed)


def settings(folder: str, seed: int, **changes):
    return tiny.config(
        model_dir=os.path.join(folder, f"dsg_seed{seed}"),
        seed=seed,
        learning_rate=RATES[seed],
        score_threshold=0.0,
        num_boxes=64,
        nms_iou=0.9,
        **changes,
    )


def write_scores(config, seed: int) -> None:
    """The final scores of a run, as they are evaluated and as the HParams page has them."""
    found = {
        "step": 12,
        "subject_iou": 0.25 + seed,
        "object_iou": 0.5,
        "ambiguous_subject_iou": float("nan"),
        "ambiguous_object_iou": None,
        "proposal_recall": 0.75,
    }
    files.write_json(os.path.join(config.model_dir, "eval_val.json"), found)
    hparams_page.write(config, "val")
