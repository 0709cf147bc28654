"""Pictures of questions and answers, in the manner of the paper's Figure 3.

Subjects are green and objects are violet; the truth is at the left, the prediction at the right.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from dsg_tf import boxes as box_ops
from dsg_tf.data.roles import ROLES
from dsg_tf.drawing import canvas, marks
from dsg_tf.drawing.canvas import NOTE_COLOR, OBJECT_COLOR, SUBJECT_COLOR, TEXT_COLOR

_VEIL = 0.7  # Opacity of a map where it is 1.
_CAPTION_SIZE = 20


def answer(outputs, query):
    """What `query_panel` draws of a system's outputs for the first image of a batch.

    Args:
      outputs: `boxes`, and `subject_mask`, `subject_scores` and the same of objects; or `subject_map`, `object_map`.
      query: its number.

    Returns:
      Keyword arguments: `prediction` and `scores`, or `maps`.
    """
    if "subject_map" in outputs:
        return {"maps": [np.asarray(outputs[f"{role}_map"])[0, query] for role in ROLES]}
    boxes = np.asarray(outputs["boxes"])[0]
    chosen = [np.asarray(outputs[f"{role}_mask"])[0, query] for role in ROLES]
    scores = [np.asarray(outputs[f"{role}_scores"])[0, query] for role in ROLES]
    return {"prediction": [boxes[c] for c in chosen], "scores": [s[c] for s, c in zip(scores, chosen)]}


def query_panel(image, query_text, truth, prediction=None, scores=None, ious=None, maps=None, note=""):
    """One question and its answer: the truth at the left, the prediction at the right.

    Args:
      image: `PIL.Image`.
      query_text: "subject, relation, object".
      truth: (subject boxes `[K, 4]`, object boxes `[L, 4]`), `[y0, x0, y1, x1]` in pixels of `image`; None for an image
        without known answer, which gets the prediction only.
      prediction: the same for the prediction, or None where there are `maps`.
      scores: (scores of the subject boxes `[K]`, of the object boxes `[L]`) or None.
      ious: (subject IoU, object IoU) or None.
      maps: (subject map `[L, L]`, object map `[L, L]`) over the whole image, 0 to 1: the prediction of a system that
        answers with maps.
      note: what stands behind the heading of the prediction.

    Returns:
      An RGB image.
    """
    image, factors_yx = canvas.enlarge(image)
    heading = [("prediction", TEXT_COLOR)] + ([(note, NOTE_COLOR)] if note else [])
    if ious is not None:
        heading += [(f"subject IoU {ious[0]:.2f}", SUBJECT_COLOR), (f"object IoU {ious[1]:.2f}", OBJECT_COLOR)]
    drawn = _draw_maps(image, maps) if maps is not None else _draw_roles(image, prediction, scores, factors_yx)
    pictures = [_titled(drawn, heading)]
    if truth is not None:
        heading = [("ground truth", TEXT_COLOR)]
        pictures.insert(0, _titled(_draw_roles(image, truth, None, factors_yx), heading))
    body = canvas.grid(pictures, columns=len(pictures))
    caption = _caption(query_text, body.width - 2 * canvas.MARGIN)
    return canvas.stack([caption, body])


def _draw_roles(image, roles, scores, factors_yx):
    """The subject and object boxes of `roles` with their scores, scaled by `factors_yx`."""
    subjects, objects = (np.asarray(boxes, np.float32).reshape(-1, 4) for boxes in roles)
    boxes = box_ops.scale(np.concatenate([subjects, objects]), factors_yx)
    colors = [SUBJECT_COLOR] * len(subjects) + [OBJECT_COLOR] * len(objects)
    labels = None
    if scores is not None:
        labels = [f"{score:.2f}" for role_scores in scores for score in role_scores]
    return marks.draw_boxes(image, boxes, colors, labels) if colors else image


def _draw_maps(image, maps):
    """`image` in grey under the two maps, each in the colour of its role."""
    pixels = np.asarray(image.convert("L").convert("RGB"), np.float32)
    for values, color in zip(maps, (SUBJECT_COLOR, OBJECT_COLOR)):
        veil = Image.fromarray(np.asarray(values, np.float32)).resize(image.size, Image.Resampling.NEAREST)
        strength = _VEIL * np.clip(np.asarray(veil), 0, 1)[..., np.newaxis]
        pixels = (1 - strength) * pixels + strength * np.array(color, np.float32)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def _titled(picture, heading):
    width = max(picture.width, canvas.COLUMN_WIDTH)
    return canvas.stack([canvas.text(heading, canvas.HEADING_SIZE, width), picture])


def _caption(query_text, width):
    """The question with its subject and object in their colours, and the legend."""
    parts = [part.strip() for part in query_text.split(",")]
    colors = [SUBJECT_COLOR, TEXT_COLOR, OBJECT_COLOR]
    runs = list(zip(parts, colors)) if len(parts) == 3 else [(query_text, TEXT_COLOR)]
    legend = [("\u25a0 subject", SUBJECT_COLOR), ("\u25a0 object", OBJECT_COLOR)]
    question = canvas.text(runs, _CAPTION_SIZE, width)
    lines = canvas.stack([question, canvas.text(legend, canvas.HEADING_SIZE, width)])
    framed = Image.new("RGB", (lines.width + 2 * canvas.MARGIN, lines.height + canvas.MARGIN), canvas.PAPER)
    framed.paste(lines, (canvas.MARGIN, canvas.MARGIN))
    return framed
