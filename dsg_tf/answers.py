"""What the program tells about an image: answers to queries and scene graphs, as data and as pictures."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from dsg_tf import visualize

RELATIONS_DRAWN = 6
# Distinct on photographs and for the colour-blind (Okabe and Ito 2008).
COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer sets of one query: boxes ``[K, 4]``, original pixels, best first, and their probabilities ``[K]``."""

    query: str
    subject_boxes: np.ndarray
    subject_scores: np.ndarray
    object_boxes: np.ndarray
    object_scores: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON; coordinates and scores are rounded."""
        return {"query": self.query, **{name: rounded(value, 3 if name.endswith("scores") else 1)
                                        for name, value in dataclasses.asdict(self).items() if name != "query"}}


@dataclasses.dataclass(frozen=True)
class LabelledGraph:
    """A scene graph in words.

    Attributes:
      boxes: ``[n, 4]``, original pixels; entities, entity_scores: the class of each and its probability.
      relations: (subject's box, relation, object's box), most probable first; relation_scores: probability of each
        triplet.
    """

    boxes: np.ndarray
    entities: Sequence[str]
    entity_scores: np.ndarray
    relations: Sequence[tuple[int, str, int]]
    relation_scores: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON; coordinates and scores are rounded."""
        return {"entities": [{"box": box, "entity": name, "score": score} for box, name, score in zip(
                    rounded(self.boxes, 1), self.entities, rounded(self.entity_scores, 3))],
                "relations": [{"subject": i, "relation": name, "object": j, "score": score} for (i, name, j), score in
                              zip(self.relations, rounded(self.relation_scores, 3))]}


def best_first(boxes: np.ndarray, scores: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ``chosen`` (bool ``[N]``) of the boxes ``[N, 4]`` and of their scores ``[N]``, in falling order."""
    order = np.flatnonzero(chosen)
    order = order[np.argsort(-scores[order], kind="stable")]
    return boxes[order], scores[order]


def draw(encoded: bytes, answers: Sequence[Answer]) -> Image.Image:
    """One panel per answer."""
    image = picture(encoded)
    panels = [visualize.query_panel(image, a.query, None, (a.subject_boxes, a.object_boxes),
                                    (a.subject_scores, a.object_scores)) for a in answers]
    return visualize.grid(panels, columns=min(len(panels), 2))


def draw_graph(image, graph: LabelledGraph) -> Image.Image:
    """The most probable relations between boxes, over the image, and as a list of sentences beside it."""
    shown = list(zip(graph.relations, graph.relation_scores))[:RELATIONS_DRAWN]
    used = sorted({box for (i, _, j), _ in shown for box in (i, j)})
    color_of = {box: COLORS[k % len(COLORS)] for k, box in enumerate(used)}
    names = {box: f"{box + 1} {graph.entities[box]}" for box in used}
    labels = [f"{names[box]} {graph.entity_scores[box]:.2f}" for box in used]
    picture, factor = visualize.enlarge(image)
    picture = visualize.draw_boxes(picture, graph.boxes[used] * np.tile(factor, 2), [color_of[b] for b in used], labels)
    centers = (graph.boxes[:, :2] + graph.boxes[:, 2:]) / 2 * factor
    picture = visualize.draw_arrows(picture, [(centers[i], centers[j], color_of[i]) for (i, _, j), _ in shown])
    lines = [[(names[i], color_of[i]), (relation, None), (names[j], color_of[j]), (f"{score:.2f}", None)]
             for (i, relation, j), score in shown]
    return visualize.beside(picture, lines)


def picture(encoded: bytes) -> Image.Image:
    """An encoded image in RGB."""
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def rounded(values: np.ndarray, digits: int) -> list:
    """Nested lists for JSON."""
    return np.round(np.asarray(values, float), digits).tolist()
