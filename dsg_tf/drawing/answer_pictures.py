"""Pictures of what the program tells about an image: answers to queries and scene graphs."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image

from dsg_tf import boxes as box_lib
from dsg_tf.drawing import canvas, marks, query_panels
from dsg_tf.predict.answers import FOUND, Answer, LabelledGraph

RELATIONS_DRAWN = 6
# Distinct on photographs and for the colour-blind (Okabe and Ito 2008).
COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))


def open_image(encoded: bytes) -> Image.Image:
    """An encoded image in RGB."""
    return Image.open(io.BytesIO(encoded)).convert("RGB")


def draw(encoded: bytes, answers: Sequence[Answer], threshold: float = FOUND) -> Image.Image:
    """One panel per answer; one whose `answer_probability` is below `threshold` says that nothing was found."""
    image = open_image(encoded)
    panels = [
        query_panels.query_panel(
            image,
            a.query,
            None,
            (a.subject_boxes, a.object_boxes),
            (a.subject_scores, a.object_scores),
            note=a.not_found(threshold),
        )
        for a in answers
    ]
    return canvas.grid(panels, columns=min(len(panels), 2))


def draw_graph(image: Image.Image, graph: LabelledGraph) -> Image.Image:
    """The most probable relations between boxes, over the image, and as a list of sentences beside it."""
    shown = list(zip(graph.relations, graph.relation_scores))[:RELATIONS_DRAWN]
    used = sorted({box for (i, _, j), _ in shown for box in (i, j)})
    color_of = {box: COLORS[k % len(COLORS)] for k, box in enumerate(used)}
    names = {box: f"{box + 1} {graph.entities[box]}" for box in used}
    labels = [f"{names[box]} {graph.entity_scores[box]:.2f}" for box in used]
    picture, factors = canvas.enlarge(image)
    boxes = box_lib.scale(graph.boxes, factors)
    picture = marks.draw_boxes(picture, boxes[used], [color_of[b] for b in used], labels)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    picture = marks.draw_arrows(picture, [(centers[i], centers[j], color_of[i]) for (i, _, j), _ in shown])
    lines = [
        [(names[i], color_of[i]), (relation, None), (names[j], color_of[j]), (f"{score:.2f}", None)]
        for (i, relation, j), score in shown
    ]
    return canvas.beside(picture, lines)
