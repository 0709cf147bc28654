"""Reads CLEVR scene files whose objects have boxes.

The official format (Johnson et al., *CLEVR*, CVPR 2017), in which `relationships[r][i]` lists the objects that stand in
relation r to object i, and per object one more field: `bbox` = [x0, y0, x1, y1], the extent of its visible pixels, x1
and y1 exclusive.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np

from dsg_tf.data import clevr_classes
from dsg_tf.data.image_files import index_images, load_image
from dsg_tf.data.json_files import read_json
from dsg_tf.data.prepare.checks import Box, is_box, is_id, short, usable_box
from dsg_tf.data.prepare.reader import AnnotatedImages
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Scene


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """One image: the scene as in the file, which has at least its name, and the path of the image file or None."""

    scene: dict
    path: str | None

    @property
    def image_id(self) -> str:
        return self.scene["image_filename"]


@dataclasses.dataclass(frozen=True)
class ClevrScenes(AnnotatedImages[AnnotatedImage]):
    """Images of one split in file order, as annotated."""

    @classmethod
    def from_files(cls, annotations: str, images: str | None) -> ClevrScenes:
        """Reads a scene file and lists the image folder, if there is one.

        Raises:
          PreparationError: a file is missing or not of the format, no object has a box, or the folder is missing.
        """
        content, annotations_print = read_json(annotations, dict)
        scenes = content.get("scenes")
        if not isinstance(scenes, list):
            raise PreparationError(f'{annotations} must hold a list under "scenes"')
        names: collections.Counter[str] = collections.Counter()
        for position, scene in enumerate(scenes):
            if not (isinstance(scene, dict) and isinstance(scene.get("image_filename"), str)):
                raise PreparationError(f'{annotations}: scene {position} has no "image_filename"')
            names[scene["image_filename"]] += 1
        repeated = [name for name, count in names.items() if count > 1]
        if repeated:
            raise PreparationError(f"{annotations} has {repeated[0]} more than once")
        objects = [obj for scene in scenes for obj in _objects(scene)]
        if objects and not any(isinstance(obj, dict) and "bbox" in obj for obj in objects):
            raise PreparationError(
                f'{annotations}: no object has a "bbox". The official CLEVR scene files carry no '
                'boxes; every object needs "bbox": [x0, y0, x1, y1], the extent of its visible '
                "pixels in the image, x1 and y1 exclusive"
            )
        paths = index_images(images) if images is not None else {}
        return cls(
            vocabulary=clevr_classes.VOCABULARY,
            source={"format": "clevr_scenes", "annotations": annotations_print, "images": images},
            rows=[AnnotatedImage(scene, paths.get(scene["image_filename"])) for scene in scenes],
            with_images=images is not None,
        )

    def _scene(self, row: AnnotatedImage, problems: Problems, annotated: collections.Counter[str]) -> Scene | None:
        image_id = row.image_id
        annotated["images"] += 1
        relations = list(_relations(row, problems))
        annotated["relations"] += len(relations)
        if not relations:
            annotated["images_without_relation"] += 1
            problems.add("no_relationship", image_id)
            return None

        encoded, size = b"", None
        if self.with_images:
            loaded = load_image(image_id, row.path, None, problems)
            if loaded is None:
                return None
            encoded, height, width = loaded
            size = height, width
        entities: dict[int, _Entity] = {}  # By the number of the object; only those that can be used.
        for number, annotation in enumerate(_objects(row.scene)):
            entity = _entity(f"{image_id}, object {number}", annotation, size, problems)
            if entity is not None:
                entities[number] = entity
        index = {number: position for position, number in enumerate(entities)}
        kept: dict[tuple[int, int, int], None] = {}  # Distinct, in file order.
        for subject, relation, object_ in relations:
            if subject in index and object_ in index:
                triplet = (index[subject], relation, index[object_])
                if triplet in kept:
                    problems.add("duplicate_relation", f"{image_id}: {subject}, {relation}, {object_}")
                elif subject == object_:
                    problems.add("self_relation", f"{image_id}: object {object_}")
                kept[triplet] = None
        if not kept:
            problems.add("nothing_left", f"{image_id}: {len(relations)} relationships")
            return None
        height, width = size or (0, 0)
        return Scene(
            image_id=image_id,
            image=encoded,
            height=height,
            width=width,
            boxes=np.array([entity.box for entity in entities.values()]),
            entities=np.array([entity.category for entity in entities.values()]),
            relations=np.array(list(kept)),
        )


@dataclasses.dataclass(frozen=True)
class _Entity:
    """A box, yxyx, and its class."""

    box: Box
    category: int


def _objects(scene: dict) -> list:
    objects = scene.get("objects")
    return objects if isinstance(objects, list) else []


def _relations(row: AnnotatedImage, problems: Problems) -> Iterator[tuple[int, int, int]]:
    """The (subject object, relation, object object) rows of a scene as the file has them."""
    image_id, count = row.image_id, len(_objects(row.scene))
    relationships = row.scene.get("relationships")
    if not isinstance(relationships, dict):
        problems.add("malformed_annotation", f'{image_id}: no "relationships"')
        return
    for name, per_object in relationships.items():
        if name not in clevr_classes.RELATIONS:
            problems.add("unknown_relation", f"{image_id}: {short(name)}")
            continue
        relation = clevr_classes.RELATIONS.index(name)
        if not (isinstance(per_object, list) and all(isinstance(row, list) for row in per_object)):
            problems.add("malformed_annotation", f"{image_id}, {name}: {short(per_object)}")
            continue
        for obj, subjects in enumerate(per_object):
            for subject in subjects:
                if is_id(subject, count) and obj < count:
                    yield subject, relation, obj
                else:
                    problems.add(
                        "malformed_annotation", f"{image_id}: object {short(subject)} {name} of object {obj} of {count}"
                    )


def _entity(where: str, annotation: object, size: tuple[int, int] | None, problems: Problems) -> _Entity | None:
    """An object of a scene, None if it cannot be used."""
    if not isinstance(annotation, dict):
        problems.add("malformed_annotation", f"{where}: {short(annotation)}")
        return None
    words = [annotation.get(key) for key in ("color", "shape", "material")]
    try:
        category = clevr_classes.entity_id(*map(str, words))
    except ValueError:
        problems.add("unknown_entity", f"{where}: {short(words)}")
        return None
    corners = annotation.get("bbox")
    if not is_box(corners):
        problems.add("malformed_box", f"{where}: {short(corners)}")
        return None
    x0, y0, x1, y1 = corners
    box = usable_box((y0, x0, y1, x1), size, where, problems)
    return None if box is None else _Entity(box, category)
