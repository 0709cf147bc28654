"""Pictures of what the graph holds: labelled scene graphs and attention (the paper, Figure 6)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dsg_tf import visualize
from dsg_tf.analysis.samples import Sample
from dsg_tf.analysis.scene_graphs import SceneGraph
from dsg_tf.data.scene import Vocabulary

BOXES_SHOWN = 5  # As in the paper's Figure 6.
RELATIONS_SHOWN = 6
# Distinct on photographs and for the colour-blind (Okabe and Ito 2008).
COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (230, 159, 0))


def scene_graph(sample: Sample, graph: SceneGraph, vocabulary: Vocabulary) -> Image.Image:
    """The most probable relations between boxes, over the image, and as a list of sentences beside it."""
    shown = graph.relations[:RELATIONS_SHOWN]
    used = np.unique(shown[:, [0, 2]])
    color_of = {box: COLORS[k % len(COLORS)] for k, box in enumerate(used)}
    names = {box: f"{number + 1} {vocabulary.entities[graph.entities[box]]}" for number, box in enumerate(used)}
    labels = [f"{names[box]} {graph.entity_scores[box]:.2f}" for box in used]
    picture, factor = visualize.enlarge(sample.image)
    picture = visualize.draw_boxes(picture, graph.boxes[used] * np.tile(factor, 2), [color_of[b] for b in used], labels)
    centers = (graph.boxes[:, :2] + graph.boxes[:, 2:]) / 2 * factor
    picture = visualize.draw_arrows(picture, [(centers[i], centers[j], color_of[i]) for i, _, j in shown])
    lines = [[(names[i], color_of[i]), (vocabulary.relations[r], None), (names[j], color_of[j]), (f"{score:.2f}", None)]
             for (i, r, j), score in zip(shown, graph.scores)]
    return visualize.beside(picture, lines)


def attention(sample: Sample) -> Image.Image:
    """The boxes that weigh most in the GPI layer's sum over nodes, with their share of it.

    Raises:
      ValueError: the system has no graph, or one that sums without attention.
    """
    if "node_attention" not in sample.outputs:
        raise ValueError("this system has no attention over nodes: it needs a graph and --gpi_attention=feature or "
                         "neighbor")
    weights = np.where(sample.outputs["valid"], sample.outputs["node_attention"], 0.0)
    top = [k for k in np.argsort(-weights, kind="stable")[:BOXES_SHOWN] if weights[k] > 0]
    picture, factor = visualize.enlarge(sample.image)
    return visualize.draw_boxes(picture, sample.outputs["boxes"][top] * np.tile(factor, 2),
                                [COLORS[k % len(COLORS)] for k in range(len(top))], [f"{weights[k]:.2f}" for k in top])
