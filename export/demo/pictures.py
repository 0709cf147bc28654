"""The pictures that visitors have shown lately, by the hash of their bytes."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
from typing import Any

from PIL import Image

from dsg_tf.predict.answers import LabelledGraph

MAX_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
_KEPT = 16


@dataclasses.dataclass(frozen=True)
class Seen:
    """A picture that the model has looked at.

    Attributes:
      image: the file.
      size: height and width in pixels.
      encoded: what stands for it in questions.
      graph: what is in it; None where the model has no graphs.
      problem: why there is no graph.
    """

    image: bytes = dataclasses.field(repr=False)
    size: tuple[int, int]
    encoded: Any = dataclasses.field(repr=False)
    graph: LabelledGraph | None
    problem: str = ""


class Pictures:
    """The last `_KEPT` pictures."""

    def __init__(self) -> None:
        self._seen: collections.OrderedDict[str, Seen] = collections.OrderedDict()

    def get(self, key: str) -> Seen | None:
        """The picture with this `key_of`; None where it was never shown, or too long ago."""
        if key in self._seen:
            self._seen.move_to_end(key)
        return self._seen.get(key)

    def keep(self, seen: Seen) -> str:
        """Returns its key."""
        key = key_of(seen.image)
        self._seen[key] = seen
        self._seen.move_to_end(key)
        while len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return key


def key_of(image: bytes) -> str:
    """What tells a picture from others."""
    return hashlib.sha256(image).hexdigest()[:32]


def size(image: bytes) -> tuple[int, int]:
    """(height, width) that a file's header tells.

    Raises:
      ValueError: the file is no picture of a kind that models take, or is too large.
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            kind, (width, height) = opened.format, opened.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError("This is no picture that can be read: a JPEG, PNG or WebP file is needed.") from error
    if kind not in ("JPEG", "MPO", "PNG", "WEBP"):
        raise ValueError(f"This is a {kind} file: a JPEG, PNG or WebP file is needed.")
    if width * height > MAX_PIXELS:
        raise ValueError(f"The picture has {width} × {height} pixels, more than {MAX_PIXELS // 10**6} million.")
    return height, width
