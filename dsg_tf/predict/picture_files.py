"""Pictures as people have them, as the encoded files that models take."""

from __future__ import annotations

import io
import os
from typing import Union

import numpy as np
from PIL import Image

Picture = Union[str, "os.PathLike[str]", bytes, Image.Image, np.ndarray]


def encoded(picture: Picture) -> bytes:
    """The bytes of a file; of pixels, those of a PNG file.

    Args:
      picture: path of a JPEG, PNG or WebP file; its bytes; a `PIL.Image`; or an array, uint8 `[h, w, 3]` RGB,
        `[h, w, 4]` RGBA, of which what is transparent keeps its colour, or `[h, w]` grey.

    Raises:
      OSError: the file cannot be read.
      TypeError, ValueError: it is none of these.
    """
    if isinstance(picture, (str, os.PathLike)):
        with open(picture, "rb") as file:
            return file.read()
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, Image.Image):
        return _png(picture)
    if not hasattr(picture, "__array__"):
        raise TypeError(f"a picture is a path, bytes, a PIL image or a uint8 array, not a {type(picture).__name__}")
    pixels = np.asarray(picture)
    right = pixels.ndim == 2 or pixels.ndim == 3 and pixels.shape[2] in (3, 4)
    if pixels.dtype != np.uint8 or not right or not pixels.size:
        raise ValueError(
            f"an array of pixels is uint8 [h, w, 3], [h, w, 4] or [h, w], not {pixels.dtype} {list(pixels.shape)}"
        )
    return _png(Image.fromarray(pixels[..., :3] if pixels.ndim == 3 else pixels))


def name(picture: Picture) -> str:
    """How to call it in an error: the path, if it has one."""
    return os.fspath(picture) if isinstance(picture, (str, os.PathLike)) else "the picture"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
