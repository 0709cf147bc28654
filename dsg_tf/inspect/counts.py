"""What a split holds, counted image by image in one pass; nothing is kept but numbers and what is to be shown."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsg_tf.data.roles import QUERY_PARTS, ROLES

# Lower bounds of the ranges that numbers are counted in; the last range has no end.
SIDES = (0, 8, 16, 32, 64, 128, 256, 512)  # Of a box: the root of its area, pixels.
SHAPES = (0, 0.25, 0.5, 1.0, 2.0, 4.0)  # Width / height.
PER_IMAGE = (0, 1, 2, 3, 6, 11, 21, 51, 101)
# What no reader of this program writes, and what it means; other writers' files are read all the same.
FAULTS = {
    "not_finite": "boxes with a coordinate that is not finite, at which a training stops",
    "no_area": "boxes without area",
    "out_of_image": "boxes that leave their image",
    "unknown_class": "boxes, relations or queries of a class that the vocabulary does not have",
    "unknown_box": "relations with a box that is not there",
}


@dataclasses.dataclass
class SplitCounts:
    """Counts over the images of one split.

    Attributes:
      num_entities, num_relations: of the vocabulary.
      num_images, num_boxes, num_relation_rows, num_queries: totals.
      entities: int `[E]`, boxes of each class.
      relations: int `[R]`, relations of each class; query_relations: int `[R]`, queries with it.
      sides, shapes: boxes by `SIDES` and `SHAPES`.
      per_image: by what is counted ("boxes", "relations", "queries"), images by `PER_IMAGE`.
      image_sizes: images by (height, width).
      ambiguous: by role, queries for whose class the image has several boxes, as `QueryResult` has it.
      decided: by role, those of them that only some of these boxes answer: the relation decides.
      ambiguous_queries: those that are ambiguous in some role.
      faults: by `FAULTS`.
      digests: of the image files, for images that are there twice.
    """

    num_entities: int
    num_relations: int
    num_images: int = 0
    num_boxes: int = 0
    num_relation_rows: int = 0
    num_queries: int = 0
    ambiguous_queries: int = 0
    ambiguous: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    decided: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    image_sizes: collections.Counter[tuple[int, int]] = dataclasses.field(default_factory=collections.Counter)
    faults: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    digests: collections.Counter[bytes] = dataclasses.field(default_factory=collections.Counter)

    def __post_init__(self):
        self.entities = np.zeros(self.num_entities, np.int64)
        self.relations = np.zeros(self.num_relations, np.int64)
        self.query_relations = np.zeros(self.num_relations, np.int64)
        self.sides, self.shapes = np.zeros(len(SIDES), np.int64), np.zeros(len(SHAPES), np.int64)
        self.per_image = {name: np.zeros(len(PER_IMAGE), np.int64) for name in ("boxes", "relations", "queries")}

    def add(self, example: Mapping[str, Any]) -> None:
        """Counts an image.

        Args:
          example: of `pipeline.annotated_images`, as numpy.
        """
        boxes, entities, relations = example["boxes"], example["entities"], example["relations"]
        queries = example["queries"]
        self.num_images += 1
        self.num_boxes += len(boxes)
        self.num_relation_rows += len(relations)
        self.num_queries += len(queries)
        for name, rows in (("boxes", boxes), ("relations", relations), ("queries", queries)):
            self.per_image[name][bisect.bisect_right(PER_IMAGE, len(rows)) - 1] += 1
        height, width = example["size"].astype(int)
        self.image_sizes[int(height), int(width)] += 1
        self.digests[hashlib.blake2b(example["encoded"], digest_size=12).digest()] += 1
        self._add_boxes(boxes, height, width)
        self._add_classes(entities, relations, queries)
        self._add_ambiguous(example)

    def _add_boxes(self, boxes, height, width) -> None:
        finite = np.isfinite(boxes).all(axis=1)
        inside = boxes[finite]
        sides = inside[:, 2:] - inside[:, :2]
        has_area = (sides > 0).all(axis=1)
        beyond = (inside[:, :2] < 0).any(axis=1) | (inside[:, 2:] > [height, width]).any(axis=1)
        self._fault("not_finite", ~finite)
        self._fault("no_area", ~has_area)
        self._fault("out_of_image", beyond)
        sides = sides[has_area]
        self.sides += in_ranges(np.sqrt(sides.prod(axis=1)), SIDES)
        self.shapes += in_ranges(sides[:, 1] / sides[:, 0], SHAPES)

    def _add_classes(self, entities, relations, queries) -> None:
        for total, ids in (
            (self.entities, entities),
            (self.relations, relations[:, 1]),
            (self.query_relations, queries[:, 1]),
        ):
            known = (ids >= 0) & (ids < len(total))
            self._fault("unknown_class", ~known)
            total += np.bincount(ids[known], minlength=len(total))
        self._fault("unknown_box", ~_names_boxes(relations, len(entities)))

    def _add_ambiguous(self, example) -> None:
        queries, entities = example["queries"], example["entities"]
        either = np.zeros(len(queries), bool)
        rows = _names_boxes(example["relations"], len(entities)) & (example["query_of_relation"] < len(queries))
        for role in ROLES:
            part = QUERY_PARTS.index(role)
            of_class = (entities == queries[:, part, np.newaxis]).sum(axis=1)
            pairs = np.stack([example["query_of_relation"][rows], example["relations"][rows, part]], axis=1)
            answers = np.bincount(np.unique(pairs, axis=0)[:, 0], minlength=len(queries))
            self.ambiguous[role] += int((of_class > 1).sum())
            self.decided[role] += int(((of_class > 1) & (answers < of_class)).sum())
            either |= of_class > 1
        self.ambiguous_queries += int(either.sum())

    def _fault(self, kind: str, found: np.ndarray) -> None:
        if found.any():
            self.faults[kind] += int(found.sum())


def _names_boxes(relations: np.ndarray, count: int) -> np.ndarray:
    ends = relations[:, [0, 2]]
    return np.all((ends >= 0) & (ends < count), axis=1)


def drawable(example: Mapping[str, Any]) -> np.ndarray:
    """The relations `[T', 3]` of an image whose boxes are there."""
    return example["relations"][_names_boxes(example["relations"], len(example["entities"]))]


def in_ranges(values: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """How many values lie in each range from a bound up to, but without, the next one."""
    return np.bincount(np.searchsorted(bounds, values, "right") - 1, minlength=len(bounds))


def range_names(bounds: Sequence[float], unit: str = "") -> list[str]:
    """What the ranges of continuous numbers are called."""
    names = [f"{low:g} to {high:g}{unit}" for low, high in zip(bounds, bounds[1:])]
    names[0] = f"below {bounds[1]:g}{unit}"
    return [*names, f"{bounds[-1]:g}{unit} and more"]


def whole_range_names(bounds: Sequence[int]) -> list[str]:
    """What the ranges of whole numbers are called."""
    names = [f"{low}" if high == low + 1 else f"{low} to {high - 1}" for low, high in zip(bounds, bounds[1:])]
    return [*names, f"{bounds[-1]} and more"]


def median(sizes: collections.Counter[int]) -> int:
    """The lower median of counted numbers; 0 of none."""
    half, seen = (sum(sizes.values()) + 1) // 2, 0
    for value in sorted(sizes):
        seen += sizes[value]
        if seen >= half:
            return value
    return 0
