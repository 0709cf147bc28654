"""From one annotated image to its `Scene`: what the readers of annotation files have in common."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, ClassVar

import numpy as np

from dsg_tf.data.image_files import load_image
from dsg_tf.data.prepare.checks import Box, image_size, short, usable_box
from dsg_tf.data.prepare.reader import AnnotatedImages
from dsg_tf.data.problems import Problems
from dsg_tf.data.scene import Scene


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """One image as the files have it.

    Attributes:
      image_id: its name.
      content: what is annotated; each reader has its own.
      path: of the image file, None where there is none.
      metadata: should hold its `height` and `width`; None where there is none.
    """

    image_id: str
    content: Any
    path: str | None
    metadata: object = None


class SceneGraph:
    """The boxes and relations of one image, while they are read.

    The same coordinates with the same class are one box.
    """

    def __init__(self, image_id: str, size: tuple[int, int] | None, problems: Problems):
        self.boxes: dict[tuple[Box, int], int] = {}  # (yxyx box, class) -> index
        self.relations: dict[tuple[int, int, int], None] = {}  # distinct, in file order
        self.rare = 0  # relations that were left out for their classes
        self.image_id, self.size, self.problems = image_id, size, problems

    def box(self, where: str, box: Box, entity: int) -> int | None:
        """Adds a `[y0, x0, y1, x1]` box, clipped to the image; returns its index, None if it cannot be used."""
        usable = usable_box(box, self.size, where, self.problems)
        return None if usable is None else self.boxes.setdefault((usable, entity), len(self.boxes))

    def relate(self, where: str, subject: int, relation: int, object_: int) -> None:
        """Adds a relation between two boxes, if it is not there."""
        triplet = (subject, relation, object_)
        if triplet in self.relations:
            self.problems.add("duplicate_relation", where)
            return
        if subject == object_:
            self.problems.add("self_relation", where)
        self.relations[triplet] = None

    def leave_out(self, where: str, words: tuple[str, ...]) -> None:
        """Counts a relation of which a class is not in a vocabulary of the most frequent ones."""
        self.problems.add("rare_class", f"{where}: {short(words)}")
        self.rare += 1

    def scene(self, encoded: bytes) -> Scene:
        height, width = self.size or (0, 0)
        return Scene(
            image_id=self.image_id,
            image=encoded,
            height=height,
            width=width,
            boxes=np.array([box for box, _ in self.boxes]),
            entities=np.array([entity for _, entity in self.boxes]),
            relations=np.array(list(self.relations)),
        )


@dataclasses.dataclass(frozen=True)
class SceneGraphs(AnnotatedImages[AnnotatedImage]):
    """Images in file order: subclasses say which relations are annotated, and what they mean."""

    has_metadata: ClassVar[bool] = True  # whether the format tells the sizes of the images

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list | None:
        """The annotated relations of an image, as the file has them; None if the annotation cannot be read at all."""
        raise NotImplementedError

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        """Adds the boxes and relations that can be used to `graph`; tells its `problems` of the others."""
        raise NotImplementedError

    def _scene(self, row: AnnotatedImage, problems: Problems, annotated: collections.Counter[str]) -> Scene | None:
        image_id = row.image_id
        annotated["images"] += 1
        relations = self._relations(row, problems)
        if relations is None:
            return None
        annotated["relations"] += len(relations)
        if not relations:
            annotated["images_without_relation"] += 1
            problems.add("no_relationship", image_id)
            return None

        size = image_size(row.metadata)
        if size is None and self.has_metadata:
            problems.add("missing_metadata", f"{image_id}: {short(row.metadata)}")
        encoded = b""
        if self.with_images:
            loaded = load_image(image_id, row.path, size, problems)
            if loaded is None:
                return None
            encoded, height, width = loaded
            size = height, width
        graph = SceneGraph(image_id, size, problems)
        self._read(row, relations, graph)
        if not graph.relations:
            only_rare = graph.rare == len(relations)
            problems.add(
                "no_relationship" if only_rare else "nothing_left", f"{image_id}: {len(relations)} relationships"
            )
            return None
        return graph.scene(encoded)
