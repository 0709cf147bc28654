"""Reads the referring-relationships JSON format: Visual Genome, VRD and CLEVR as published with Krishna et al. 2018.

`annotations_<split>.json` is `{image file: [{"predicate": id, "subject": {"category": id, "bbox": [ymin, ymax, xmin,
xmax]}, "object": {...}}, ...]}`, `<split>_image_metadata.json` is `{image file: {"width": pixels, "height": pixels}}`,
`objects.json` and `predicates.json` are lists of names whose positions are the ids.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from dsg_tf.data.image_files import index_images, load_image
from dsg_tf.data.json_files import read_json
from dsg_tf.data.prepare.checks import Box, is_box, is_id, short, usable_box
from dsg_tf.data.prepare.reader import AnnotatedImages
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Scene, Vocabulary


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """One image as the files have it.

    Attributes:
      image_id: its name.
      relationships: should be a list.
      metadata: should hold its size; None where there is none.
      path: of the image file, None where there is none.
    """

    image_id: str
    relationships: object
    metadata: object
    path: str | None


@dataclasses.dataclass(frozen=True)
class ReferringRelationships(AnnotatedImages[AnnotatedImage]):
    """Images of one split in file order, as annotated."""

    @classmethod
    def from_files(
        cls, annotations: str, image_metadata: str, objects: str, predicates: str, images: str | None
    ) -> ReferringRelationships:
        """Reads the four JSON files and lists the image folder, if there is one.

        Raises:
          PreparationError: a file is missing or not of the format, or the folder is missing.
        """
        entities, entities_print = read_json(objects, list)
        relations, relations_print = read_json(predicates, list)
        for path, names in ((objects, entities), (predicates, relations)):
            if not all(isinstance(name, str) for name in names):
                raise PreparationError(f"{path} must be a list of names")
        metadata, metadata_print = read_json(image_metadata, dict)
        annotated, annotations_print = read_json(annotations, dict)
        paths = index_images(images) if images is not None else {}
        return cls(
            vocabulary=Vocabulary(tuple(entities), tuple(relations)),
            source={
                "format": "referring_relationships",
                "annotations": annotations_print,
                "image_metadata": metadata_print,
                "objects": entities_print,
                "predicates": relations_print,
                "images": images,
            },
            rows=[
                AnnotatedImage(image_id, relationships, metadata.get(image_id), paths.get(image_id))
                for image_id, relationships in annotated.items()
            ],
            with_images=images is not None,
        )

    def _scene(self, row: AnnotatedImage, problems: Problems, annotated: collections.Counter[str]) -> Scene | None:
        image_id, relationships = row.image_id, row.relationships
        annotated["images"] += 1
        if not isinstance(relationships, list):
            problems.add("malformed_annotation", f"{image_id}: {short(relationships)} is not a list")
            return None
        annotated["relations"] += len(relationships)
        if not relationships:
            annotated["images_without_relation"] += 1
            problems.add("no_relationship", image_id)
            return None

        size = _size(row.metadata)
        if size is None:
            problems.add("missing_metadata", f"{image_id}: {short(row.metadata)}")
        encoded = b""
        if self.with_images:
            loaded = load_image(image_id, row.path, size, problems)
            if loaded is None:
                return None
            encoded, height, width = loaded
            size = height, width
        image = _Annotations(image_id, size, self.vocabulary, problems)
        for position, relationship in enumerate(relationships):
            image.add(position, relationship)
        if not image.relations:
            problems.add("nothing_left", f"{image_id}: {len(relationships)} relationships")
            return None
        height, width = size or (0, 0)
        return Scene(
            image_id=image_id,
            image=encoded,
            height=height,
            width=width,
            boxes=np.array([box for box, _ in image.boxes]),
            entities=np.array([category for _, category in image.boxes]),
            relations=np.array(list(image.relations)),
        )


class _Annotations:
    """The relationships of one image, with every entity once.

    The same coordinates with the same category are one entity; a box that was seen before keeps its index, and what is
    wrong with it is counted once.
    """

    def __init__(self, image_id: str, size: tuple[int, int] | None, vocabulary: Vocabulary, problems: Problems):
        self.boxes: dict[tuple[Box, int], int] = {}  # (yxyx box, category) -> index
        self.relations: dict[tuple[int, int, int], None] = {}  # distinct, in file order
        self._seen: dict[str, int | None] = {}  # as annotated -> index in boxes, None if unusable
        self._image_id, self._size = image_id, size
        self._vocabulary, self._problems = vocabulary, problems

    def add(self, position: int, relationship: object) -> None:
        where = f"{self._image_id}, relationship {position}"
        if not (isinstance(relationship, dict) and {"subject", "object"} <= relationship.keys()):
            self._problems.add("malformed_annotation", f"{where}: {short(relationship)}")
            return
        predicate, count = relationship.get("predicate"), len(self._vocabulary.relations)
        if not is_id(predicate, count):
            self._problems.add("unknown_relation", f"{where}: {short(predicate)} of {count}")
            predicate = None
        subject = self._entity(f"{where}, subject", relationship["subject"])
        object_ = self._entity(f"{where}, object", relationship["object"])
        if predicate is None or subject is None or object_ is None:
            return
        triplet = (subject, predicate, object_)
        if triplet in self.relations:
            self._problems.add("duplicate_relation", where)
            return
        if subject == object_:
            self._problems.add("self_relation", where)
        self.relations[triplet] = None

    def _entity(self, where: str, entity: object) -> int | None:
        as_annotated = str(entity)
        if as_annotated not in self._seen:
            self._seen[as_annotated] = self._new_entity(where, entity)
        return self._seen[as_annotated]

    def _new_entity(self, where: str, entity: object) -> int | None:
        if not isinstance(entity, dict):
            self._problems.add("malformed_annotation", f"{where}: {short(entity)}")
            return None
        category = entity.get("category")
        if not is_id(category, len(self._vocabulary.entities)):
            self._problems.add("unknown_entity", f"{where}: {short(category)} of {len(self._vocabulary.entities)}")
            return None
        corners = entity.get("bbox")
        if not is_box(corners):
            self._problems.add("malformed_box", f"{where}: {short(corners)}")
            return None
        y0, y1, x0, x1 = corners
        box = usable_box((y0, x0, y1, x1), self._size, where, self._problems)
        if box is None:
            return None
        return self.boxes.setdefault((box, category), len(self.boxes))


def _size(metadata: object) -> tuple[int, int] | None:
    """(height, width) of the metadata of an image, None if it has none that makes sense."""
    if not isinstance(metadata, dict):
        return None
    height, width = metadata.get("height"), metadata.get("width")
    if is_id(height, math.inf) and is_id(width, math.inf) and height > 0 and width > 0:
        return height, width
    return None
