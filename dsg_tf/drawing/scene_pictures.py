"""Annotated images: boxes, and arrows from subjects to objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from dsg_tf import boxes as box_lib
from dsg_tf.drawing import canvas, marks
from dsg_tf.drawing.answer_pictures import COLORS


def draw(
    image: Image.Image, boxes: np.ndarray, labels: Sequence[str], relations: Sequence[tuple[int, int]]
) -> Image.Image:
    """An image with its annotations.

    Args:
      image: the image.
      boxes: `[M, 4]`, `[y0, x0, y1, x1]` in pixels of `image`.
      labels: what is written at each box.
      relations: (subject box, object box), an arrow each, in the colour of the subject.
    """
    picture, factors = canvas.enlarge(image)
    boxes = box_lib.scale(np.asarray(boxes, np.float32).reshape(-1, 4), factors)
    colors = [COLORS[k % len(COLORS)] for k in range(len(boxes))]
    picture = marks.draw_boxes(picture, boxes, colors, labels)
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return marks.draw_arrows(
        picture, [(centers[i], centers[j], colors[i]) for i, j in relations if np.isfinite(centers[[i, j]]).all()]
    )
