"""Reads the visual relationships of Open Images, V4 to V7 (https://storage.googleapis.com/openimages/web/).

`<split>-annotations-vrd.csv` has one relationship a row: `ImageID`, `LabelName1`, `LabelName2`, `XMin1`, `XMax1`,
`YMin1`, `YMax1`, `XMin2`, `XMax2`, `YMin2`, `YMax2`, `RelationshipLabel`. Box 1 is the subject; coordinates are shares
of the image's width and height. A row whose relation is `is` tells a property of one box and is no relationship. The
image is `<ImageID>.jpg`.

`class-descriptions-boxable.csv` has the name of each label, `relationship-triplets.csv` the triplets that occur in any
split: `LabelName1`, `LabelName2`, `RelationshipLabel`. The vocabulary are the classes and relations of the latter, in
its order; an underscore in a relation becomes a blank.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from dsg_tf.data.image_files import index_images
from dsg_tf.data.input_files import read_bytes
from dsg_tf.data.prepare.checks import is_box, short, vocabulary_of
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.problems import PreparationError, Problems

_LABELS = ("LabelName1", "LabelName2")
_SIDES = tuple(tuple(f"{side}{box}" for side in ("YMin", "XMin", "YMax", "XMax")) for box in (1, 2))
_RELATION = "RelationshipLabel"
_COLUMNS = ("ImageID", *_LABELS, *_SIDES[0], *_SIDES[1], _RELATION)
_PROPERTY = "is"


class _Rows(NamedTuple):
    """The rows of one image: relationships as texts in the order of `_COLUMNS`, and how many tell a property."""

    relationships: list[list[str]]
    properties: int


@dataclasses.dataclass(frozen=True)
class OpenImages(SceneGraphs):
    """Images of one file in the order in which they first occur; `content` of a row is a `_Rows`.

    Attributes:
      classes: {label of the files: entity class}.
    """

    classes: dict[str, int]
    has_metadata: ClassVar[bool] = False

    @classmethod
    def from_files(cls, annotations: str, objects: str, predicates: str, images: str | None) -> OpenImages:
        """Reads the files and lists the image folder, if there is one.

        Args:
          annotations: the relationships of a split.
          objects: the class descriptions.
          predicates: the relationship triplets.
          images: folder of the images.

        Raises:
          PreparationError: a file is missing or not of the format, or the folder is missing.
        """
        names, objects_print = _descriptions(objects)
        labels, relations, predicates_print = _triplets(predicates)
        nameless = [label for label in labels if label not in names]
        if nameless:
            raise PreparationError(f"{objects} does not name {nameless[0]}, which {predicates} has")
        of_image, annotations_print = _by_image(annotations)
        paths = index_images(images)
        return cls(
            vocabulary=vocabulary_of(
                f"{objects} and {predicates}", [names[label] for label in labels], map(_words, relations)
            ),
            source={
                "format": "open_images",
                "annotations": annotations_print,
                "objects": objects_print,
                "predicates": predicates_print,
                "images": images,
            },
            rows=[
                AnnotatedImage(f"{image_id}.jpg", rows, paths.get(f"{image_id}.jpg"))
                for image_id, rows in of_image.items()
            ],
            with_images=images is not None,
            classes={label: number for number, label in enumerate(labels)},
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list:
        for _ in range(row.content.properties):
            problems.add("attribute", row.image_id)
        return row.content.relationships

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        predicates = {name: number for number, name in enumerate(self.vocabulary.relations)}
        for position, fields in enumerate(relations):
            where = f"{row.image_id}, relationship {position}"
            values = dict(zip(_COLUMNS, fields))
            relation = predicates.get(_words(values[_RELATION]))
            if relation is None:
                graph.problems.add("unknown_relation", f"{where}: {short(values[_RELATION])}")
            ends = [
                self._box(f"{where}, box {number}", values[label], [values[side] for side in sides], graph)
                for number, label, sides in zip((1, 2), _LABELS, _SIDES)
            ]
            if relation is not None and ends[0] is not None and ends[1] is not None:
                graph.relate(where, ends[0], relation, ends[1])

    def _box(self, where: str, label: str, sides: list[str], graph: SceneGraph) -> int | None:
        if label not in self.classes:
            graph.problems.add("unknown_entity", f"{where}: {short(label)}")
            return None
        try:
            shares = list(map(float, sides))
        except ValueError:
            shares = []
        if not is_box(shares):
            graph.problems.add("malformed_box", f"{where}: {short(sides)}")
            return None
        height, width = graph.size or (1, 1)
        y0, x0, y1, x1 = shares
        return graph.box(where, (y0 * height, x0 * width, y1 * height, x1 * width), self.classes[label])


def _words(relation: str) -> str:
    return relation.replace("_", " ")


def _csv(path: str) -> tuple[Iterator[list[str]], str]:
    """The rows of a file that are not empty, and its print."""
    content, file_print = read_bytes(path)

    def rows() -> Iterator[list[str]]:
        try:
            yield from filter(None, csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline="")))
        except (csv.Error, UnicodeDecodeError) as error:
            raise PreparationError(f"{path} is not a table of texts in UTF-8: {error}") from error

    return rows(), file_print


def _header(path: str, rows: Iterator[list[str]], columns: tuple[str, ...]) -> list[int]:
    """Where the columns are, by the first row."""
    found = next(rows, [])
    missing = [column for column in columns if column not in found]
    if missing:
        raise PreparationError(f"{path} has no column {missing[0]}, its first row is {short(found)}")
    return [found.index(column) for column in columns]


def _descriptions(path: str) -> tuple[dict[str, str], str]:
    """{label: name} of the class descriptions, with or without a header, and the file's print."""
    rows, file_print = _csv(path)
    names = {}
    for number, row in enumerate(rows):
        if row[0].startswith("/"):
            if len(row) != 2:
                raise PreparationError(f"{path}: row {number + 1} must be a label and its name, it is {short(row)}")
            names[row[0]] = row[1]
    return names, file_print


def _triplets(path: str) -> tuple[list[str], list[str], str]:
    """The labels and the relations that occur, in order of appearance, and the file's print."""
    rows, file_print = _csv(path)
    columns = _header(path, rows, (*_LABELS, _RELATION))
    labels: dict[str, None] = {}
    relations: dict[str, None] = {}
    for row in rows:
        if len(row) <= max(columns):
            raise PreparationError(f"{path}, perhaps cut short: a row is {short(row)}")
        first, second, relation = (row[column] for column in columns)
        if relation != _PROPERTY:
            labels |= {first: None, second: None}
            relations[relation] = None
    return list(labels), list(relations), file_print


def _by_image(path: str) -> tuple[dict[str, _Rows], str]:
    """The rows of each image, in order of appearance, and the file's print."""
    rows, file_print = _csv(path)
    columns = _header(path, rows, _COLUMNS)
    of_image: dict[str, _Rows] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) <= max(columns):
            raise PreparationError(f"{path}, perhaps cut short: row {number} has {len(row)} fields: {short(row)}")
        fields = [row[column] for column in columns]
        found = of_image.setdefault(fields[0], _Rows([], 0))
        if fields[-1] == _PROPERTY:
            of_image[fields[0]] = found._replace(properties=found.properties + 1)
        else:
            found.relationships.append(fields)
    return of_image, file_print
