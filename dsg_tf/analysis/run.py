"""Runs the analyses that ``eval.py --analyses`` names, and writes what they find."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from typing import Any

from dsg_tf import files, results, visualize
from dsg_tf.analysis import cost, drawings, errors, oracles, scene_graphs
from dsg_tf.analysis.samples import samples
from dsg_tf.build import input_spec
from dsg_tf.config import Config
from dsg_tf.data.records import DatasetInfo

NAMES = ("errors", "scene_graphs", "attention", "oracles", "cost")
PICTURES = 6


def run(names: Sequence[str], model, config: Config, info: DatasetInfo, split: str, *, data_dir: str, model_dir: str,
        max_images: int = 0) -> dict[str, Any]:
    """Analyses a trained system on a split that it has been evaluated on.

    Writes ``analysis_<split>.json`` (results of earlier calls stay), ``figures/<split>_<analysis>*.png`` and, for
    scene graphs, ``scene_graphs_<split>.jsonl``, one line per image.

    Returns:
      What the JSON holds of ``names``.

    Raises:
      ValueError: an unknown name, or an analysis that the system has nothing for.
    """
    check_names(names)
    shards, spec = info.shard_paths(data_dir, split), input_spec(config, info, split, training=False)
    vocabulary = info.vocabulary

    def all_samples():
        return samples(model, shards, spec, config.eval_batch_size, max_images)

    report, pictures = {}, {}
    if "errors" in names:
        queries = results.read_queries(os.path.join(model_dir, f"queries_{split}.csv"))
        ious = {(q.image, q.query, role): getattr(q, f"{role}_iou") for q in queries for role in errors.ROLES}
        report["errors"], drawn = errors.analyze(all_samples(), ious, vocabulary)
        pictures |= drawn
    if "scene_graphs" in names:
        report["scene_graphs"], graphs = scene_graphs.analyze(all_samples(), vocabulary)
        lines = "".join(json.dumps(graph) + "\n" for graph in graphs)
        files.write_text(os.path.join(model_dir, f"scene_graphs_{split}.jsonl"), lines)
        panels = [drawings.scene_graph(sample, scene_graphs.read(sample.outputs), vocabulary)
                  for sample in itertools.islice(all_samples(), PICTURES)]
        pictures["scene_graphs"] = visualize.grid(panels, columns=1)
    if "attention" in names:
        panels = [drawings.attention(sample) for sample in itertools.islice(all_samples(), PICTURES)]
        pictures["attention"] = visualize.grid(panels, columns=2)
    if "oracles" in names:
        report["oracles"] = oracles.analyze(model, shards, spec, config.eval_batch_size, max_images)
    if "cost" in names:
        report["cost"] = cost.analyze(config, len(vocabulary.entities), len(vocabulary.relations))
    for name, picture in pictures.items():
        visualize.save_png(picture, os.path.join(model_dir, "figures", f"{split}_{name}.png"))
    _merge(os.path.join(model_dir, f"analysis_{split}.json"), report)
    return report


def check_names(names: Sequence[str]) -> None:
    """Raises a ValueError where a name is unknown: for callers that work long before they call `run`."""
    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        raise ValueError(f"--analyses={','.join(unknown)}: known are {', '.join(NAMES)}")


def _merge(path: str, report: dict[str, Any]) -> None:
    before = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
    files.write_json(path, {**before, **report})
