"""Scene graphs read off what a model says about an image (the paper, section 6.3).

A triplet (i, relation, j) has the probability p(class of i) * p(relation of i, j) * p(class of j). In the graph each
ordered pair of boxes has its most probable relation, unless all of them are asked for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict.answers import LabelledGraph


@dataclasses.dataclass(frozen=True)
class SceneGraph:
    """Labels of the valid boxes of one image and its relations, most probable first.

    Attributes:
      boxes: float32 `[N, 4]`, in the pixels of what it was read from.
      entities: int `[N]`, classes; entity_scores: float32 `[N]`.
      relations: int `[K, 3]`, (subject box, relation class, object box).
      scores: float32 `[K]`, probability of the triplet.
    """

    boxes: np.ndarray
    entities: np.ndarray
    entity_scores: np.ndarray
    relations: np.ndarray
    scores: np.ndarray

    def labelled(self, vocabulary: Vocabulary, count: int | None = None) -> LabelledGraph:
        """The graph in words, with the `count` most probable relations; None: all. Its boxes are as they are here."""
        return LabelledGraph(
            self.boxes,
            [vocabulary.entities[entity] for entity in self.entities],
            self.entity_scores,
            [(int(i), vocabulary.relations[relation], int(j)) for i, relation, j in self.relations[:count]],
            self.scores[:count],
        )


def read(outputs: Mapping[str, np.ndarray], constrained: bool = True) -> SceneGraph:
    """The scene graph in a system's outputs for one image (without the batch axis).

    Args:
      outputs: `boxes`, `valid`, `entity_logits`, `relation_probabilities`.
      constrained: one relation for each ordered pair, or all.

    Raises:
      ValueError: the system has no label heads.
    """
    if "entity_logits" not in outputs:
        raise ValueError("this system has no label heads: scene graphs need --model=dsg, dsg_no_br or two_step")
    valid = outputs["valid"]
    classes = _softmax(outputs["entity_logits"][valid])
    entities, entity_scores = classes.argmax(axis=-1), classes.max(axis=-1, initial=0.0)
    edges = outputs["relation_probabilities"][valid][:, valid].astype(np.float64)
    allowed = np.broadcast_to(~np.eye(len(entities), dtype=bool)[..., np.newaxis], edges.shape)
    if constrained:  # One relation, also where several are certain.
        allowed = allowed & (np.arange(edges.shape[-1]) == edges.argmax(axis=-1)[..., np.newaxis])
    relations = np.argwhere(allowed)[:, [0, 2, 1]]
    subjects, classes_of, objects = relations.T
    scores = edges[subjects, objects, classes_of] * entity_scores[subjects] * entity_scores[objects]
    order = np.argsort(-scores, kind="stable")
    return SceneGraph(outputs["boxes"][valid], entities, entity_scores, relations[order], scores[order])


def of_signature(found: Mapping[str, np.ndarray], count: int | None = None) -> LabelledGraph:
    """The same from the outputs of an export's signature `scene_graph`, without the batch axis.

    Args:
      found: as `docs/serving.md` tells.
      count: relations, at most; None: all that the model was exported for.
    """
    valid = np.flatnonzero(found["valid"])
    number = {int(box): k for k, box in enumerate(valid)}
    # Fewer pairs than K leave zeros.
    kept = [k for k, score in enumerate(found["relation_score"]) if score > 0][:count]
    relations = [
        (number[found["relation_subject"][k]], found["relation"][k].decode(), number[found["relation_object"][k]])
        for k in kept
    ]
    return LabelledGraph(
        found["boxes"][valid],
        [name.decode() for name in found["entity"][valid]],
        found["entity_score"][valid],
        relations,
        found["relation_score"][kept],
    )


def _softmax(logits):
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis=-1, keepdims=True)
