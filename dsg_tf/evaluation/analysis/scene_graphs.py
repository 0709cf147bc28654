"""How right the scene graphs are that are read off the DSG (the paper, section 6.3).

In a graph each ordered pair of boxes has its most probable relation; recall is reported with that constraint and
without it, as scene-graph work does ("no graph constraint": all relations of a pair compete).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dsg_tf import boxes as box_lib
from dsg_tf.data.scene import Vocabulary
from dsg_tf.evaluation.analysis.samples import Sample, iou
from dsg_tf.predict.graphs import SceneGraph, read

ACCURACY_IOU = 0.8  # The paper's.
RECALL_IOU = 0.5
RECALL_AT = (50, 100)
TRIPLETS_LISTED = 20


def as_dict(graph: SceneGraph, vocabulary: Vocabulary, scale, count: int = TRIPLETS_LISTED) -> dict[str, Any]:
    """For JSON: boxes in pixels of the original image, names, the `count` most probable relations."""
    boxes = np.round(box_lib.scale(graph.boxes.astype(float), scale), 1).tolist()
    entities = [
        {"box": box, "entity": vocabulary.entities[entity], "score": round(float(score), 4)}
        for box, entity, score in zip(boxes, graph.entities, graph.entity_scores)
    ]
    relations = [
        {"subject": int(i), "relation": vocabulary.relations[r], "object": int(j), "score": round(float(score), 4)}
        for (i, r, j), score in zip(graph.relations[:count], graph.scores[:count])
    ]
    return {"entities": entities, "relations": relations}


def analyze(samples: Iterable[Sample], vocabulary: Vocabulary) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Scores the scene graphs of a split.

    Returns:
      A dict for JSON: `entity_accuracy` over refined boxes that match a true box with IoU of at least 0.8 (the
      paper's 76 %); `relation_accuracy` over annotated pairs of such boxes: the most probable relation is one of the
      annotated (the paper's 70 %); their counts; `recall_at_50` and `recall_at_100`: the share of the true triplets
      of an image that are among its K most probable, labels equal and both boxes at IoU 0.5, averaged over images;
      the same as `unconstrained_recall_at_...`; and a list of one dict per image, for JSON lines.
    """
    labels, edges, graphs = [], [], []
    recalls: dict[str, list[float]] = {
        f"{prefix}recall_at_{k}": [] for prefix in ("", "unconstrained_") for k in RECALL_AT
    }
    for sample in samples:
        graph = read(sample.outputs)
        graphs.append({"image": sample.image_id, **as_dict(graph, vocabulary, sample.scale)})
        of_entities, of_relations = accuracies(graph, sample)
        labels += of_entities
        edges += of_relations
        if len(sample.relations):
            every = read(sample.outputs, constrained=False)
            for k in RECALL_AT:
                recalls[f"recall_at_{k}"].append(recall(graph, sample, k))
                recalls[f"unconstrained_recall_at_{k}"].append(recall(every, sample, k))
    report = {
        "entity_accuracy": _mean(labels),
        "num_entities": len(labels),
        "relation_accuracy": _mean(edges),
        "num_relations": len(edges),
        **{name: _mean(values) for name, values in recalls.items()},
    }
    return report, graphs


def accuracies(graph: SceneGraph, sample: Sample) -> tuple[list[bool], list[bool]]:
    """Whether the label is right of each precise box, and of each annotated pair of precise boxes."""
    if not len(sample.boxes) or not len(graph.boxes):
        return [], []
    overlap = iou(graph.boxes, sample.boxes)
    truth, precise = overlap.argmax(axis=1), overlap.max(axis=1) >= ACCURACY_IOU
    right = [bool(graph.entities[k] == sample.entities[truth[k]]) for k in np.flatnonzero(precise)]
    annotated: dict[tuple[int, int], set[int]] = {}
    for subject, relation, object_ in sample.relations:
        annotated.setdefault((subject, object_), set()).add(relation)
    of_pairs = [
        bool(relation in annotated[truth[i], truth[j]])
        for i, relation, j in graph.relations
        if precise[i] and precise[j] and (truth[i], truth[j]) in annotated
    ]
    return right, of_pairs


def recall(graph: SceneGraph, sample: Sample, count: int) -> float:
    """Share of the true triplets that one of the `count` most probable finds."""
    overlap = iou(graph.boxes, sample.boxes) >= RECALL_IOU
    found = set()
    for i, relation, j in graph.relations[:count]:
        for number, (subject, true_relation, object_) in enumerate(sample.relations):
            if (
                relation == true_relation
                and overlap[i, subject]
                and overlap[j, object_]
                and graph.entities[i] == sample.entities[subject]
                and graph.entities[j] == sample.entities[object_]
            ):
                found.add(number)
    return len(found) / len(sample.relations)


def _mean(values) -> float:
    return float(np.mean(values)) if values else float("nan")
