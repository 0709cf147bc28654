"""Runs the analyses that `eval.py --analyses` names, and writes what they find."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from dsg_tf.build import batch_spec
from dsg_tf.config import Config
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.roles import ROLES
from dsg_tf.drawing import canvas
from dsg_tf.evaluation.analysis import cost, drawings, errors, oracles, scene_graphs
from dsg_tf.evaluation.analysis import names as name_lib
from dsg_tf.evaluation.analysis.samples import samples
from dsg_tf.process import files

PICTURES = 6


def run(
    names: Sequence[str],
    model,
    config: Config,
    info: DatasetInfo,
    split: str,
    *,
    queries: Iterable[Any],
    data_dir: str,
    model_dir: str,
    max_images: int = 0,
) -> dict[str, Any]:
    """Analyses a trained system on a split that it has been evaluated on.

    Writes `analysis_<split>.json` (results of earlier calls stay), `figures/<split>_<analysis>*.png` and, for
    scene graphs, `scene_graphs_<split>.jsonl`, one line per image.

    Args:
      names: of the analyses, see `names.ALL`.
      model, config, info: the system, its settings and its data.
      split: name of the split.
      queries: what its evaluation found, a `QueryResult` each.
      data_dir, model_dir: of the data, and for what is written.
      max_images: only so many images; 0: all.

    Returns:
      What the JSON holds of `names`.

    Raises:
      ValueError: an unknown name, or an analysis that the system has nothing for.
    """
    name_lib.check(names)
    shards, spec = info.shard_paths(data_dir, split), batch_spec(config, info, split, training=False)
    vocabulary = info.vocabulary

    def all_samples():
        return samples(model, shards, spec, config.eval_batch_size, max_images)

    report: dict[str, Any] = {}
    pictures: dict[str, Image.Image] = {}
    if "errors" in names:
        ious = {(q.image, q.query, role): getattr(q, f"{role}_iou") for q in queries for role in ROLES}
        report["errors"], drawn = errors.analyze(all_samples(), ious, vocabulary)
        pictures |= drawn
    if "scene_graphs" in names:
        report["scene_graphs"], graphs = scene_graphs.analyze(all_samples(), vocabulary)
        lines = "".join(json.dumps(graph) + "\n" for graph in graphs)
        files.write_text(os.path.join(model_dir, f"scene_graphs_{split}.jsonl"), lines)
        panels = [
            drawings.scene_graph(sample, scene_graphs.read(sample.outputs), vocabulary)
            for sample in itertools.islice(all_samples(), PICTURES)
        ]
        pictures["scene_graphs"] = canvas.grid(panels, columns=1)
    if "attention" in names:
        panels = [drawings.attention(sample) for sample in itertools.islice(all_samples(), PICTURES)]
        pictures["attention"] = canvas.grid(panels, columns=2)
    if "oracles" in names:
        report["oracles"] = oracles.analyze(
            model, shards, spec, config.eval_batch_size, max_images, relations=vocabulary.relations
        )
    if "cost" in names:
        report["cost"] = cost.analyze(config, len(vocabulary.entities), len(vocabulary.relations))
    for name, picture in pictures.items():
        canvas.save_png(picture, os.path.join(model_dir, "figures", f"{split}_{name}.png"))
    _merge(os.path.join(model_dir, f"analysis_{split}.json"), report)
    return report


def text(report: dict[str, Any]) -> str:
    """What `run` returned, for people: the oracles as a table, of the rest what is about all queries as JSON."""
    rest = {name: part.get("all", part) for name, part in report.items() if name != "oracles"}
    parts = [json.dumps(rest, indent=2)] if rest else []
    if "oracles" in report:
        parts.append(oracles.table(report["oracles"]))
    return "\n".join(parts)


def _merge(path: str, report: dict[str, Any]) -> None:
    before = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
    files.write_json(path, {**before, **report})
