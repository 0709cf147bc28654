"""Sheets of pictures and words: images at a legible size, lines of coloured text, grids."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dsg_tf.process import files

SUBJECT_COLOR = (0, 158, 60)
OBJECT_COLOR = (143, 45, 222)
NOTE_COLOR = (196, 30, 30)
TEXT_COLOR = (34, 34, 34)
PAPER = (255, 255, 255)
MARGIN = 12
HEADING_SIZE = 15
# Room for the heading of a tall and narrow image.
COLUMN_WIDTH = 380
# Images are scaled until their longer side is in this range: legible, and not huge.
_LONGER_SIDE = (480, 800)


def enlarge(image):
    """`image` in RGB at a legible size, and the factors (y, x) by which its boxes grow."""
    longer = max(image.size)
    factor = np.clip(longer, *_LONGER_SIDE) / longer
    size = tuple(max(1, round(side * factor)) for side in image.size)
    factors_yx = np.array([size[1] / image.height, size[0] / image.width], np.float32)
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS), factors_yx


def beside(picture, lines):
    """`picture` with lines of coloured text at its right: each line a list of (text, color or None for black)."""
    texts = [
        text([(words, color or TEXT_COLOR) for words, color in line], HEADING_SIZE, COLUMN_WIDTH) for line in lines
    ]
    return grid([picture, stack(texts)] if texts else [picture], columns=2)


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
    lefts = np.cumsum([MARGIN] + [width + MARGIN for width in widths])
    tops = np.cumsum([MARGIN] + [height + MARGIN for height in heights])
    sheet = Image.new("RGB", (int(lefts[-1]), int(tops[-1])), PAPER)
    for row, top in zip(rows, tops):
        for panel, left in zip(row, lefts):
            sheet.paste(panel, (int(left), int(top)))
    return sheet


def save_png(image: Image.Image, path: str) -> None:
    """Writes a PNG file: whole, or not at all."""
    with files.atomic(path) as temporary:
        image.save(temporary, "PNG")


def text(runs, font_size, width):
    """Lines of coloured `runs` [(text, color)], broken between words at `width` pixels."""
    face = font(font_size)
    line_height, space = sum(face.getmetrics()) + 3, face.getlength(" ")
    placed, x, y = [], 0.0, 0
    for words, color in runs:
        for word in words.split():
            length = face.getlength(word)
            if x and x + length > width:
                x, y = 0.0, y + line_height
            placed.append((x, y, word, color))
            x += length + space
        x += space
    sheet = Image.new("RGB", (width, y + line_height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for x, y, word, color in placed:
        draw.text((x, y), word, fill=color, font=face)
    return sheet


def stack(pictures):
    """Images on top of each other, aligned at the left."""
    width = max(picture.width for picture in pictures)
    sheet = Image.new("RGB", (width, sum(picture.height for picture in pictures)), PAPER)
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    return sheet


@functools.lru_cache
def font(size):
    """DejaVu Sans, which has most alphabets; Pillow's own font where it is not installed."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)
