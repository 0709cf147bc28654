"""Marks on an image: boxes with their labels, and arrows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

from dsg_tf.drawing import canvas

_ARROW_HEAD = 14
_LABEL_SIZE = 14
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
        draw.line([tuple(start), tuple(neck)], fill=canvas.PAPER, width=width + 2)
        draw.line([tuple(start), tuple(neck)], fill=color, width=width)
        draw.polygon(head, fill=color, outline=canvas.PAPER)
    return image


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
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=canvas.PAPER)
    draw.rectangle((left, top, right, bottom), outline=color, width=width)


def _draw_tag(draw, frame: _Frame, color, label, taken: Sequence[_Frame], size) -> _Frame:
    """Draws a label at the place around `frame` that hides least of `taken`; returns the place."""
    font = canvas.font(_LABEL_SIZE)
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
    draw.text((place[0] + 4, place[1] + 1), label, fill=canvas.PAPER, font=font)
    return place


def _overlap(one: _Frame, two: _Frame) -> int:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0) * max(height, 0)
