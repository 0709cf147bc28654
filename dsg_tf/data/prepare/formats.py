"""The forms of data that `python -m dsg_tf.data.prepare` reads; a new one is a `Reader` and a row of `FORMATS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from dsg_tf.data.prepare.clevr import ClevrScenes
from dsg_tf.data.prepare.reader import Reader
from dsg_tf.data.prepare.referring_relationships import ReferringRelationships
from dsg_tf.data.problems import PreparationError
from dsg_tf.data.synthetic.reader import SyntheticScenes, seed_of_split


@dataclasses.dataclass(frozen=True)
class Format:
    """A form of data.

    Attributes:
      needed, optional: the flags that say where the data is.
      read: the reader, from the split and these flags' values by name.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[..., Reader]


def _synthetic(split: str, num_images: int, seed: int | None) -> SyntheticScenes:
    return SyntheticScenes(seed_of_split(split, seed), 0, num_images)


def _clevr_scenes(split: str, first_image: int | None, max_images: int | None, **files: str) -> ClevrScenes:
    del split
    return _section(ClevrScenes.from_files(**files), first_image or 0, max_images)


def _referring_relationships(
    split: str, first_image: int | None, max_images: int | None, **files: str
) -> ReferringRelationships:
    del split
    return _section(ReferringRelationships.from_files(**files), first_image or 0, max_images)


_Files = TypeVar("_Files", ClevrScenes, ReferringRelationships)


def _section(reader: _Files, first: int, count: int | None) -> _Files:
    """Only so many images of a reader, and its source says so."""
    if first >= len(reader):
        raise PreparationError(f"--first_image={first}, but there are {len(reader)} images")
    stop = len(reader) if count is None else first + count
    source = {**reader.source, "first_image": first, "max_images": count}
    return dataclasses.replace(reader.part(first, stop), source=source)


FORMATS = {
    "referring_relationships": Format(
        ("annotations", "image_metadata", "objects", "predicates", "images"),
        ("first_image", "max_images"),
        _referring_relationships,
    ),
    "clevr_scenes": Format(("annotations", "images"), ("first_image", "max_images"), _clevr_scenes),
    "synthetic": Format(("num_images",), ("seed",), _synthetic),
}
