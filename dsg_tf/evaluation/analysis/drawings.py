"""Pictures of what the graph holds: labelled scene graphs and attention (the paper, Figure 6)."""

from __future__ import annotations

import numpy as np
from PIL import Image

from dsg_tf import boxes as box_lib
from dsg_tf.data.scene import Vocabulary
from dsg_tf.drawing import answer_pictures, canvas, marks
from dsg_tf.evaluation.analysis.samples import Sample
from dsg_tf.predict.graphs import SceneGraph

BOXES_SHOWN = 5  # As in the paper's Figure 6.


def scene_graph(sample: Sample, graph: SceneGraph, vocabulary: Vocabulary) -> Image.Image:
    """The most probable relations between boxes, over the image, and as a list of sentences beside it."""
    return answer_pictures.draw_graph(sample.image, graph.labelled(vocabulary))


def attention(sample: Sample) -> Image.Image:
    """The boxes that weigh most in the GPI layer's sum over nodes, with their share of it.

    Raises:
      ValueError: the system has no graph, or one that sums without attention.
    """
    if "node_attention" not in sample.outputs:
        raise ValueError(
            "this system has no attention over nodes: it needs a graph and --gpi_attention=feature or neighbor"
        )
    weights = np.where(sample.outputs["valid"], sample.outputs["node_attention"], 0.0)
    top = [k for k in np.argsort(-weights, kind="stable")[:BOXES_SHOWN] if weights[k] > 0]
    picture, factor = canvas.enlarge(sample.image)
    return marks.draw_boxes(
        picture,
        box_lib.scale(sample.outputs["boxes"][top], factor),
        [answer_pictures.COLORS[k % len(answer_pictures.COLORS)] for k in range(len(top))],
        [f"{weights[k]:.2f}" for k in top],
    )
