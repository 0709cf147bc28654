"""Reads CLEVR scene files whose objects have boxes.

The official format (Johnson et al., *CLEVR*, CVPR 2017), in which `relationships[r][i]` lists the objects that stand in
relation r to object i, and per object one more field: `bbox` = [x0, y0, x1, y1], the extent of its visible pixels, x1
and y1 exclusive.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

from dsg_tf.data import clevr_classes
from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import read_json
from dsg_tf.data.prepare.checks import is_box, is_id, no_name_twice, short
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.problems import PreparationError, Problems


@dataclasses.dataclass(frozen=True)
class ClevrScenes(SceneGraphs):
    """Images of one split in file order, as annotated."""

    has_metadata: ClassVar[bool] = False

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
        for position, scene in enumerate(scenes):
            if not (isinstance(scene, dict) and isinstance(scene.get("image_filename"), str)):
                raise PreparationError(f'{annotations}: scene {position} has no "image_filename"')
        no_name_twice(annotations, [scene["image_filename"] for scene in scenes])
        objects = [obj for scene in scenes for obj in _objects(scene)]
        if objects and not any(isinstance(obj, dict) and "bbox" in obj for obj in objects):
            raise PreparationError(
                f'{annotations}: no object has a "bbox". The official CLEVR scene files carry no '
                'boxes; every object needs "bbox": [x0, y0, x1, y1], the extent of its visible '
                "pixels in the image, x1 and y1 exclusive"
            )
        paths = index_images(images)
        return cls(
            vocabulary=clevr_classes.VOCABULARY,
            source={"format": "clevr_scenes", "annotations": annotations_print, "images": images},
            rows=[
                AnnotatedImage(scene["image_filename"], scene, paths.get(scene["image_filename"])) for scene in scenes
            ],
            with_images=images is not None,
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list:
        return list(_relations(row.image_id, row.content, problems))

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        boxes = [
            _box(f"{row.image_id}, object {number}", annotation, graph)
            for number, annotation in enumerate(_objects(row.content))
        ]
        for number, relation, of in relations:
            subject, object_ = boxes[number], boxes[of]
            if subject is not None and object_ is not None:
                graph.relate(f"{row.image_id}: objects {number} and {of}", subject, relation, object_)


def _objects(scene: dict) -> list:
    objects = scene.get("objects")
    return objects if isinstance(objects, list) else []


def _relations(image_id: str, scene: dict, problems: Problems) -> Iterator[tuple[int, int, int]]:
    """The (subject object, relation, object object) rows of a scene as the file has them."""
    count, relationships = len(_objects(scene)), scene.get("relationships")
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


def _box(where: str, annotation: object, graph: SceneGraph) -> int | None:
    """Adds an object of a scene; None if it cannot be used."""
    problems = graph.problems
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
    return graph.box(where, (y0, x0, y1, x1), category)
