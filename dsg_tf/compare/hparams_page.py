"""TensorBoard's HParams page of a comparison: a session for each run, with its settings and its final scores.

Written without TensorFlow, which the process that compares does not load: it only waits for those that train.
"""

from __future__ import annotations

import json
import math
import os
import time

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

from dsg_tf.config import Config
from dsg_tf.process import files

EVENT_FILE = "events.out.tfevents.0.hparams"  # A fixed name: what is there is not written again.
# As many as the page shows before anything is clicked.
METRICS = ("subject_iou", "object_iou", "ambiguous_subject_iou", "ambiguous_object_iou", "proposal_recall")
# Not all of them, or the page would be a list of settings; the whole configuration is on the page of texts.
SETTINGS = ("system", "seed", "learning_rate", "optimizer", "batch_size", "epochs", "pair_units", "init_checkpoint")


def write(config: Config, split: str) -> None:
    """Writes the settings of a finished run and what its `eval_<split>.json` holds, unless that was done before.

    TensorBoard finds by itself which settings differ between the sessions, and shows those first.

    Args:
      config: of the run; its model directory gets the directory `final_<split>`.
      split: what the systems are compared on.
    """
    path = os.path.join(config.model_dir, f"final_{split}", EVENT_FILE)
    if os.path.exists(path):
        return
    with open(os.path.join(config.model_dir, f"eval_{split}.json"), encoding="utf-8") as file:
        found = json.load(file)
    # Without a name of its own, runs of the same settings would be one row of the page.
    session = hparams.hparams_pb({name: getattr(config, name) for name in SETTINGS}, trial_id=config.model_dir)
    events = [
        event_pb2.Event(file_version="brain.Event:2"),
        event_pb2.Event(summary=session),
        event_pb2.Event(summary=_metrics(found), step=found["step"]),
    ]
    with files.atomic(path) as temporary, open(temporary, "wb") as file:
        for event in events:
            event.wall_time = time.time()
            RecordWriter(file).write(event.SerializeToString())


def _metrics(found: dict) -> summary_pb2.Summary:
    """Scalars; not every system proposes boxes, and not every split has ambiguous queries."""
    values = {name: found.get(name) for name in METRICS}
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(tag=f"metric/{name}", simple_value=value)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ]
    )
