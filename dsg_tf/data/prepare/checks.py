"""Checks of single annotated values, shared by the readers."""

from __future__ import annotations

import collections
import math
import numbers
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Vocabulary

if TYPE_CHECKING:
    from typing import TypeGuard  # Python 3.10 or newer.

Box = tuple[float, float, float, float]
_FARTHEST = 1e9  # pixels


def is_id(value: object, count: float) -> TypeGuard[int]:
    """Whether this is an integer from 0 to `count` (exclusive); True and 1.0 are not."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < count


def short(value: object) -> str:
    """A value as it looks in the file, cut to fit a message."""
    text = "none" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_box(corners: object) -> TypeGuard[list[float]]:
    """Whether this is a list of four finite numbers."""
    return (
        isinstance(corners, list)
        and len(corners) == 4
        and all(isinstance(c, numbers.Real) and not isinstance(c, bool) for c in corners)
        and all(-_FARTHEST < c < _FARTHEST for c in corners)  # False for NaN
    )


def no_name_twice(path: str, names: list[str]) -> None:
    """Raises a `PreparationError` where a file has an image more than once."""
    repeated = [name for name, count in collections.Counter(names).items() if count > 1]
    if repeated:
        raise PreparationError(f"{path} has {repeated[0]} more than once")


def vocabulary_of(path: str, entities: Iterable[str], relations: Iterable[str]) -> Vocabulary:
    """The vocabulary that a file holds; a `PreparationError` names the file where it is none."""
    try:
        return Vocabulary(tuple(entities), tuple(relations))
    except ValueError as error:
        raise PreparationError(f"{path}: {error}") from error


def corners_of(x: float, y: float, width: float, height: float) -> Box:
    """The `[y0, x0, y1, x1]` box of a top left corner and a size."""
    return y, x, y + height, x + width


def image_size(metadata: object) -> tuple[int, int] | None:
    """(height, width) of the metadata of an image, None if it has none that makes sense."""
    if not isinstance(metadata, dict):
        return None
    height, width = metadata.get("height"), metadata.get("width")
    if is_id(height, math.inf) and is_id(width, math.inf) and height > 0 and width > 0:
        return height, width
    return None


def usable_box(box: Box, size: tuple[int, int] | None, where: str, problems: Problems) -> Box | None:
    """Clips a `[y0, x0, y1, x1]` box to the image of (height, width) `size`, None if unknown.

    Returns:
      The box, or None if nothing of it lies inside.
    """
    y0, x0, y1, x1 = box
    inside = box
    if size is not None:
        height, width = size
        inside = (max(y0, 0), max(x0, 0), min(y1, height), min(x1, width))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        problems.add("zero_area_box", f"{where}: y {y0} to {y1}, x {x0} to {x1}{_in(size)}")
        return None
    if inside != box:
        problems.add("out_of_image_box", f"{where}: y {y0} to {y1}, x {x0} to {x1}{_in(size)}")
    return inside


def _in(size: tuple[int, int] | None) -> str:
    return f" in an image of height {size[0]}, width {size[1]}" if size else ""
