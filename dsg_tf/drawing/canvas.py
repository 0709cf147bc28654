"""Pictures of questions and answers, in the manner of the paper's Figure 3.

Subjects are green and objects are violet; the truth is at the left, the prediction at the right.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dsg_tf import boxes as box_ops
from dsg_tf.data.roles import ROLES
from dsg_tf.process import files

SUBJECT_COLOR = (0, 158, 60)
OBJECT_COLOR = (143, 45, 222)
NOTE_COLOR = (196, 30, 30)
_TEXT_COLOR = (34, 34, 34)
_PAPER = (255, 255, 255)
_ARROW_HEAD = 14
_VEIL = 0.7  # Opacity of a map where it is 1.
_MARGIN = 12
# Images are scaled until their longer side is in this range: legible, and not huge.
_LONGER_SIDE = (480, 800)
# Room for the heading of a tall and narrow image.
_COLUMN_WIDTH = 380
_CAPTION_SIZE, _HEADING_SIZE, _LABEL_SIZE = 20, 15, 14
_Frame = tuple[int, int, int, int]  # Left, top, right, bottom, in pixels.


def draw_boxes(image, boxes, color, labels=None, width=3):
    """Draws boxes, and labels where they hide each other least.

    Boxes are clipped to the image; what is empty or outside is left out, with its label. Of equal boxes each is drawn
    inside the one before, so that all their colours can be seen.

    Args:
      image: any `PIL.Image`.
      boxes: `[K, 4]`, `[y0, x0, y1, x1]` in pixels of `image`.
      color: (red, green, blue), or one such tuple per box.
      labels: one text per box ("" for none), or None.
      width: of the lines, in pixels.

    Returns:
      A new RGB image.

    Raises:
      ValueError: not as many colours or labels as boxes.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    colors = [color] * len(boxes) if np.ndim(color) == 1 else list(color)
    labels = [""] * len(boxes) if labels is None else list(labels)
    if not len(boxes) == len(colors) == len(labels):
        raise ValueError(
            f"draw_boxes needs one color and one label per box, got {len(boxes)} boxes, "
            f"{len(colors)} colors and {len(labels)} labels"
        )
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    drawn: list[_Frame] = []
    tags = []
    for box, box_color, label in zip(boxes, colors, labels):
        frame = _frame(box, image.size)
        if frame is None:
            continue
        _draw_frame(draw, frame, box_color, width, inset=width * drawn.count(frame))
        drawn.append(frame)
        if label:
            tags.append((frame, box_color, label))
    taken: list[_Frame] = []
    for frame, box_color, label in tags:
        taken.append(_draw_tag(draw, frame, box_color, label, taken, image.size))
    return image


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
    image, factors_yx = enlarge(image)
    heading = [("prediction", _TEXT_COLOR)] + ([(note, NOTE_COLOR)] if note else [])
    if ious is not None:
        heading += [(f"subject IoU {ious[0]:.2f}", SUBJECT_COLOR), (f"object IoU {ious[1]:.2f}", OBJECT_COLOR)]
    drawn = _draw_maps(image, maps) if maps is not None else _draw_roles(image, prediction, scores, factors_yx)
    pictures = [_titled(drawn, heading)]
    if truth is not None:
        heading = [("ground truth", _TEXT_COLOR)]
        pictures.insert(0, _titled(_draw_roles(image, truth, None, factors_yx), heading))
    body = grid(pictures, columns=len(pictures))
    caption = _caption(query_text, body.width - 2 * _MARGIN)
    return _stack([caption, body])


def enlarge(image):
    """`image` in RGB at a legible size, and the factors (y, x) by which its boxes grow."""
    longer = max(image.size)
    factor = np.clip(longer, *_LONGER_SIDE) / longer
    size = tuple(max(1, round(side * factor)) for side in image.size)
    factors_yx = np.array([size[1] / image.height, size[0] / image.width], np.float32)
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS), factors_yx


def draw_arrows(image, arrows, width=3):
    """Draws arrows [(start (y, x), end (y, x), color)], in pixels, each with a thin white edge."""
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    for start, end, color in arrows:
        start, end = np.asarray(start, float)[::-1], np.asarray(end, float)[::-1]
        length = np.linalg.norm(end - start)
        if length < 1:
            continue
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        # Arrows there and back lie beside each other.
        start, end = start + width * across, end + width * across
        neck = end - min(_ARROW_HEAD, length) * along
        head = [tuple(end), tuple(neck + _ARROW_HEAD / 2 * across), tuple(neck - _ARROW_HEAD / 2 * across)]
        draw.line([tuple(start), tuple(neck)], fill=_PAPER, width=width + 2)
        draw.line([tuple(start), tuple(neck)], fill=color, width=width)
        draw.polygon(head, fill=color, outline=_PAPER)
    return image


def beside(picture, lines):
    """`picture` with lines of coloured text at its right: each line a list of (text, color or None for black)."""
    texts = [
        _text([(text, color or _TEXT_COLOR) for text, color in line], _HEADING_SIZE, _COLUMN_WIDTH) for line in lines
    ]
    return grid([picture, _stack(texts)] if texts else [picture], columns=2)


def grid(panels: Sequence[Image.Image], columns: int) -> Image.Image:
    """Lays out images of any sizes in rows of `columns`, aligned at the top left of their cells.

    Raises:
      ValueError: no panels, or fewer than one column.
    """
    if not panels or columns < 1:
        raise ValueError(f"grid needs panels and columns, got {len(panels)} and {columns}")
    rows = [panels[k : k + columns] for k in range(0, len(panels), columns)]
    widths = [max(panel.width for panel in panels[k::columns]) for k in range(len(rows[0]))]
    heights = [max(panel.height for panel in row) for row in rows]
    lefts = np.cumsum([_MARGIN] + [width + _MARGIN for width in widths])
    tops = np.cumsum([_MARGIN] + [height + _MARGIN for height in heights])
    sheet = Image.new("RGB", (int(lefts[-1]), int(tops[-1])), _PAPER)
    for row, top in zip(rows, tops):
        for panel, left in zip(row, lefts):
            sheet.paste(panel, (int(left), int(top)))
    return sheet


def save_png(image: Image.Image, path: str) -> None:
    """Writes a PNG file: whole, or not at all."""
    with files.atomic(path) as temporary:
        image.save(temporary, "PNG")


def _draw_roles(image, roles, scores, factors_yx):
    """The subject and object boxes of `roles` with their scores, scaled by `factors_yx`."""
    subjects, objects = (np.asarray(boxes, np.float32).reshape(-1, 4) for boxes in roles)
    boxes = box_ops.scale(np.concatenate([subjects, objects]), factors_yx)
    colors = [SUBJECT_COLOR] * len(subjects) + [OBJECT_COLOR] * len(objects)
    labels = None
    if scores is not None:
        labels = [f"{score:.2f}" for role_scores in scores for score in role_scores]
    return draw_boxes(image, boxes, colors, labels) if colors else image


def _draw_maps(image, maps):
    """`image` in grey under the two maps, each in the colour of its role."""
    pixels = np.asarray(image.convert("L").convert("RGB"), np.float32)
    for values, color in zip(maps, (SUBJECT_COLOR, OBJECT_COLOR)):
        veil = Image.fromarray(np.asarray(values, np.float32)).resize(image.size, Image.Resampling.NEAREST)
        strength = _VEIL * np.clip(np.asarray(veil), 0, 1)[..., np.newaxis]
        pixels = (1 - strength) * pixels + strength * np.array(color, np.float32)
    return Image.fromarray(np.round(pixels).astype(np.uint8))


def _frame(box, size) -> _Frame | None:
    """The first and last pixels of a box, None if it has none."""
    if not np.isfinite(box).all():
        return None
    top, left, bottom, right = (int(round(float(value))) for value in box)
    left, top = max(left, 0), max(top, 0)
    right, bottom = min(right, size[0]) - 1, min(bottom, size[1]) - 1
    return (left, top, right, bottom) if left <= right and top <= bottom else None


def _draw_frame(draw, frame: _Frame, color, width, inset):
    """A line of `width` inside `frame` with a thin white edge, which shows on any background."""
    left, top, right, bottom = frame
    inset = min(inset, (right - left) // 2, (bottom - top) // 2)
    left, top, right, bottom = left + inset, top + inset, right - inset, bottom - inset
    # Pillow lets a line that is too wide for its box run over the edge.
    width = min(width, (right - left) // 2 + 1, (bottom - top) // 2 + 1)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=_PAPER)
    draw.rectangle((left, top, right, bottom), outline=color, width=width)


def _draw_tag(draw, frame: _Frame, color, label, taken: Sequence[_Frame], size) -> _Frame:
    """Draws a label at the place around `frame` that hides least of `taken`; returns the place."""
    font = _font(_LABEL_SIZE)
    width, height = int(draw.textlength(label, font)) + 7, sum(font.getmetrics()) + 2
    left, top, right, bottom = frame
    candidates = []
    for y in (top - height, bottom + 1, top, bottom - height + 1):
        for x in (left, right - width + 1):
            x = max(0, min(x, size[0] - width))
            y = max(0, min(y, size[1] - height))
            candidates.append((x, y, x + width, y + height))
    # `min` takes the first of equals: above the box if it can be.
    place = min(candidates, key=lambda spot: sum(_overlap(spot, other) for other in taken))
    draw.rectangle((place[0], place[1], place[2] - 1, place[3] - 1), fill=color)
    draw.text((place[0] + 4, place[1] + 1), label, fill=_PAPER, font=font)
    return place


def _overlap(one: _Frame, two: _Frame) -> int:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0) * max(height, 0)


def _titled(picture, heading):
    width = max(picture.width, _COLUMN_WIDTH)
    return _stack([_text(heading, _HEADING_SIZE, width), picture])


def _caption(query_text, width):
    """The question with its subject and object in their colours, and the legend."""
    parts = [part.strip() for part in query_text.split(",")]
    colors = [SUBJECT_COLOR, _TEXT_COLOR, OBJECT_COLOR]
    runs = list(zip(parts, colors)) if len(parts) == 3 else [(query_text, _TEXT_COLOR)]
    legend = [("\u25a0 subject", SUBJECT_COLOR), ("\u25a0 object", OBJECT_COLOR)]
    question = _text(runs, _CAPTION_SIZE, width)
    lines = _stack([question, _text(legend, _HEADING_SIZE, width)])
    framed = Image.new("RGB", (lines.width + 2 * _MARGIN, lines.height + _MARGIN), _PAPER)
    framed.paste(lines, (_MARGIN, _MARGIN))
    return framed


def _text(runs, font_size, width):
    """Lines of coloured `runs` [(text, color)], broken between words at `width` pixels."""
    font = _font(font_size)
    line_height, space = sum(font.getmetrics()) + 3, font.getlength(" ")
    placed, x, y = [], 0.0, 0
    for text, color in runs:
        for word in text.split():
            length = font.getlength(word)
            if x and x + length > width:
                x, y = 0.0, y + line_height
            placed.append((x, y, word, color))
            x += length + space
        x += space
    sheet = Image.new("RGB", (width, y + line_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, y, word, color in placed:
        draw.text((x, y), word, fill=color, font=font)
    return sheet


def _stack(pictures):
    """Images on top of each other, aligned at the left."""
    width = max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, sum(picture.height for picture in pictures)), _PAPER)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


@functools.lru_cache
def _font(size):
    """DejaVu Sans, which has most alphabets; Pillow's own font where it is not installed."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)
