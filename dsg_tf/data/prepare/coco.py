"""Reads COCO's instances, `instances_<set>.json`; their relations follow from their boxes by a rule.

The format is that of https://cocodataset.org/#format-data: `images` are `{"id", "file_name", "width", "height"}`,
`annotations` are `{"image_id", "category_id", "bbox": [x, y, width, height], "iscrowd"}`, `categories` are `{"id",
"name"}`; their order is that of the entity classes. Left out are crowds and boxes of less than 32 x 32 pixels.

Every ordered pair (subject, object) of the boxes left has one relation:

- `in`, where at least 85 % of the subject's area lies inside the object, whose area is at least 1 / 0.7 times as large;
- `around`, where the object is `in` the subject;
- else the direction of the larger of the two offsets between their centers, each in units of the sum of the boxes' half
  sides: `left of`, `right of`, `above`, `below`; the horizontal one where both are equal.

Two boxes with the same center of which neither is in the other have no relation.
"""

from __future__ import annotations

import dataclasses
import itertools

from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import read_json, rows_of
from dsg_tf.data.prepare.checks import Box, corners_of, is_box, is_id, no_name_twice, short, vocabulary_of
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.problems import PreparationError, Problems

RELATIONS = ("left of", "right of", "above", "below", "in", "around")
SMALLEST = 32  # pixels, of either side
_INSIDE, _LARGER = 0.85, 1 / 0.7


def relation_between(subject: Box, object_: Box) -> str | None:
    """The relation of two `[y0, x0, y1, x1]` boxes by the rule above; None where there is none."""
    shared, subject_area, object_area = _shared_area(subject, object_), _area(subject), _area(object_)
    if shared >= _INSIDE * subject_area and object_area >= _LARGER * subject_area:
        return "in"
    if shared >= _INSIDE * object_area and subject_area >= _LARGER * object_area:
        return "around"
    down, right = (
        (subject[i] + subject[i + 2] - object_[i] - object_[i + 2])
        / (subject[i + 2] - subject[i] + object_[i + 2] - object_[i])
        for i in (0, 1)
    )
    if down == right == 0:
        return None
    if abs(right) >= abs(down):
        return "left of" if right < 0 else "right of"
    return "above" if down < 0 else "below"


def _without_outline(row: dict) -> dict:
    """An object of the file without what takes most of the memory."""
    row.pop("segmentation", None)
    return row


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared_area(first: Box, second: Box) -> float:
    height, width = (min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1))
    return max(height, 0) * max(width, 0)


@dataclasses.dataclass(frozen=True)
class CocoInstances(SceneGraphs):
    """Images of one file in its order; `content` of a row is the list of its annotations.

    Attributes:
      classes: {category id of the file: entity class}.
    """

    classes: dict[int, int]

    @classmethod
    def from_files(cls, annotations: str, images: str | None) -> CocoInstances:
        """Reads the annotations and lists the image folder, if there is one.

        Raises:
          PreparationError: a file is missing or not of the format, or the folder is missing.
        """
        content, annotations_print = read_json(annotations, dict, hook=_without_outline)
        categories = rows_of(annotations, content, "categories", {"id": int, "name": str})
        pictures = rows_of(annotations, content, "images", {"id": int, "file_name": str})
        no_name_twice(annotations, [picture["file_name"] for picture in pictures])
        no_name_twice(annotations, [f"image id {picture['id']}" for picture in pictures])
        of_image: dict[int, list] = {picture["id"]: [] for picture in pictures}
        for position, annotation in enumerate(rows_of(annotations, content, "annotations", {"image_id": int})):
            if annotation["image_id"] not in of_image:
                raise PreparationError(
                    f'{annotations}: annotation {position} is of image {annotation["image_id"]}, which "images" lacks'
                )
            of_image[annotation["image_id"]].append(annotation)
        paths = index_images(images)
        return cls(
            vocabulary=vocabulary_of(annotations, [category["name"] for category in categories], RELATIONS),
            source={"format": "coco", "annotations": annotations_print, "images": images},
            rows=[
                AnnotatedImage(picture["file_name"], of_image[picture["id"]], paths.get(picture["file_name"]), picture)
                for picture in pictures
            ],
            with_images=images is not None,
            classes={category["id"]: number for number, category in enumerate(categories)},
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list:
        """The ordered pairs of the annotations with a box that counts."""
        counted = []
        for position, annotation in enumerate(row.content):
            where, corners = f"{row.image_id}, annotation {position}", annotation.get("bbox")
            if annotation.get("iscrowd"):
                problems.add("crowd_box", where)
            elif not is_box(corners):
                problems.add("malformed_box", f"{where}: {short(corners)}")
            elif min(corners[2:]) < SMALLEST:
                problems.add("small_box", f"{where}: {corners[2]} x {corners[3]}")
            else:
                counted.append(position)
        return list(itertools.permutations(counted, 2))

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        for position in dict.fromkeys(subject for subject, _ in relations):
            annotation, where = row.content[position], f"{row.image_id}, annotation {position}"
            category = annotation.get("category_id")
            if is_id(category, float("inf")) and category in self.classes:
                graph.box(where, corners_of(*annotation["bbox"]), self.classes[category])
            else:
                graph.problems.add("unknown_entity", f"{where}: category_id {short(category)}")
        boxes = {index: box for (box, _), index in graph.boxes.items()}
        for subject, object_ in itertools.permutations(boxes, 2):
            relation = relation_between(boxes[subject], boxes[object_])
            if relation is not None:
                graph.relate(row.image_id, subject, RELATIONS.index(relation), object_)
