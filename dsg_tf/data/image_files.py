"""Image files: where they lie, and whether they can be read."""

from __future__ import annotations

import io
import os

from PIL import Image

from dsg_tf.data.problems import PreparationError, Problems

# Visual Genome comes as two archives, and its images lie in the folders these make.
_SUBFOLDERS = ("", "VG_100K", "VG_100K_2")
# What `tf.io.decode_image` reads as one picture.
_FORMATS = ("JPEG", "PNG")


def index_images(folder: str | None) -> dict[str, str]:
    """Lists the files of an image folder and of Visual Genome's two sub-folders; without a folder, none.

    Returns:
      `{file name: path}`. Where a name occurs twice, the first folder counts.

    Raises:
      PreparationError: the folder is not there.
    """
    if folder is None:
        return {}
    if not os.path.isdir(folder):
        raise PreparationError(f"the image folder is not there: {folder}")
    paths: dict[str, str] = {}
    for subfolder in _SUBFOLDERS:
        path = os.path.join(folder, subfolder) if subfolder else folder
        if os.path.isdir(path):
            for name in os.listdir(path):
                paths.setdefault(name, os.path.join(path, name))
    return paths


def load_image(
    image_id: str, path: str | None, size: tuple[int, int] | None, problems: Problems
) -> tuple[bytes, int, int] | None:
    """Reads an image file and proves that it decodes to the last pixel.

    Args:
      image_id: how to name it in a problem.
      path: the file, None where there is none.
      size: the (height, width) that it must have, None for any.
      problems: counts what is wrong.

    Returns:
      (the bytes of the file, height, width), or None if the image cannot be used.
    """
    if path is None:
        problems.add("missing_image", image_id)
        return None
    try:
        with open(path, "rb") as file:
            encoded = file.read()
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            found, (width, height) = image.format, image.size
    # A broken file makes the decoders raise nearly anything; all of it means the same here.
    except Exception as error:
        problems.add("unreadable_image", f"{image_id}: {type(error).__name__}: {error}")
        return None
    if found not in _FORMATS:
        problems.add("unreadable_image", f"{image_id}: {found}, not {' or '.join(_FORMATS)}")
        return None
    if size is not None and size != (height, width):
        problems.add(
            "size_mismatch", f"{image_id}: the image is {width} x {height}, the metadata says {size[1]} x {size[0]}"
        )
        return None
    return encoded, height, width
