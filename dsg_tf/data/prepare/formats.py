"""The forms of data that `python -m dsg_tf.data.prepare` reads; a new one is a `Reader` and a row of `FORMATS`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from dsg_tf.data.prepare.clevr import ClevrScenes
from dsg_tf.data.prepare.coco import CocoInstances
from dsg_tf.data.prepare.gqa import GqaSceneGraphs
from dsg_tf.data.prepare.open_images import OpenImages
from dsg_tf.data.prepare.psg import PanopticSceneGraphs
from dsg_tf.data.prepare.reader import Reader
from dsg_tf.data.prepare.referring_relationships import ReferringRelationships
from dsg_tf.data.prepare.scene_graphs import SceneGraphs
from dsg_tf.data.prepare.vg150 import Vg150
from dsg_tf.data.prepare.visual_genome import VisualGenome
from dsg_tf.data.problems import PreparationError
from dsg_tf.data.synthetic.reader import SyntheticScenes, seed_of_split

_Files = TypeVar("_Files", bound=SceneGraphs)


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


def _of_a_file(reader: Callable[..., _Files]) -> Callable[..., _Files]:
    """Reads a split that has files of its own, or a part of its images."""

    def read(split: str, first_image: int | None, max_images: int | None, **options: object) -> _Files:
        del split
        return _section(reader(**_given(options)), first_image or 0, max_images)

    return read


def _of_a_release(reader: Callable[..., _Files]) -> Callable[..., _Files]:
    """Reads a split of files that hold all of them, or a part of its images."""

    def read(split: str, first_image: int | None, max_images: int | None, **options: object) -> _Files:
        return _section(reader(split=split, **_given(options)), first_image or 0, max_images)

    return read


def _given(options: dict[str, object]) -> dict[str, object]:
    """The values of flags without those that are not given; a reader knows itself what it takes then."""
    return {name: value for name, value in options.items() if value is not None or name == "images"}


def _section(reader: _Files, first: int, count: int | None) -> _Files:
    """Only so many images of a reader, and its source says so."""
    if first >= len(reader):
        raise PreparationError(f"--first_image={first}, but there are {len(reader)} images")
    stop = len(reader) if count is None else first + count
    source = {**reader.source, "first_image": first, "max_images": count}
    return dataclasses.replace(reader.part(first, stop), source=source)


_PART = ("first_image", "max_images")
_COUNTS = ("num_entities", "num_relations")

FORMATS = {
    "referring_relationships": Format(
        ("annotations", "image_metadata", "objects", "predicates", "images"),
        _PART,
        _of_a_file(ReferringRelationships.from_files),
    ),
    "visual_genome": Format(
        ("annotations", "image_metadata", "objects", "images"),
        ("object_aliases", "relation_aliases", *_COUNTS, *_PART),
        _of_a_release(VisualGenome.from_files),
    ),
    "vg150": Format(("annotations", "image_metadata", "objects", "images"), _PART, _of_a_release(Vg150.from_files)),
    "gqa": Format(
        ("annotations", "images"), ("vocabulary_from", *_COUNTS, *_PART), _of_a_file(GqaSceneGraphs.from_files)
    ),
    "open_images": Format(("annotations", "objects", "predicates", "images"), _PART, _of_a_file(OpenImages.from_files)),
    "psg": Format(("annotations", "images"), _PART, _of_a_release(PanopticSceneGraphs.from_files)),
    "coco": Format(("annotations", "images"), _PART, _of_a_file(CocoInstances.from_files)),
    "clevr_scenes": Format(("annotations", "images"), _PART, _of_a_file(ClevrScenes.from_files)),
    "synthetic": Format(("num_images",), ("seed",), _synthetic),
}
