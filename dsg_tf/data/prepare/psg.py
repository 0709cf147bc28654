"""Reads PSG, panoptic scene graphs (Yang et al., ECCV 2022): `psg.json` of https://github.com/Jingkang50/OpenPSG.

`data` are the images: `{"image_id", "file_name", "width", "height", "annotations", "relations"}`. `annotations` are the
segments, things and stuff alike: `{"bbox": [x0, y0, x1, y1], "category_id"}`, the box around the segment and a position
in `thing_classes` followed by `stuff_classes`. `relations` are `[subject, object, predicate]`: two positions in
`annotations` and one in `predicate_classes`. All of these count from 0.

`test_image_ids` are the split `test`; of the other images with relations the first 1,000 are `val`, as many as the
challenge of 2022 had, and the rest are `train`. An image that was annotated twice is there twice, under two names.
"""

from __future__ import annotations

import collections
import dataclasses
import os

from dsg_tf.data.json_files import read_json, rows_of
from dsg_tf.data.prepare.checks import is_box, is_id, short, vocabulary_of
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.prepare.splits import held_out
from dsg_tf.data.problems import PreparationError, Problems

VAL_IMAGES = 1000
_TEXTS = ("thing_classes", "stuff_classes", "predicate_classes")


@dataclasses.dataclass(frozen=True)
class PanopticSceneGraphs(SceneGraphs):
    """Images of one split in file order; `content` of a row is the image as the file has it."""

    @classmethod
    def from_files(
        cls, split: str, annotations: str, images: str | None, val_images: int = VAL_IMAGES
    ) -> PanopticSceneGraphs:
        """Reads the annotations of a split.

        Args:
          split: `train`, `val` or `test`.
          annotations: the file.
          images: COCO's folder, with `train2017/` and `val2017/` in it.
          val_images: how many images with relations that are not in `test` are `val`.

        Raises:
          PreparationError: a file is missing or not of the format, the folder is missing, or there is no such split.
        """
        content, annotations_print = read_json(annotations, dict)
        for name in (*_TEXTS, "test_image_ids"):
            if not isinstance(content.get(name), list):
                raise PreparationError(f'{annotations} must hold a list under "{name}"')
        things, stuff, predicates = (list(map(str, content[name])) for name in _TEXTS)
        if images is not None and not os.path.isdir(images):
            raise PreparationError(f"the image folder is not there: {images}")
        test = set(map(str, content["test_image_ids"]))
        pictures = []
        for position, picture in enumerate(rows_of(annotations, content, "data", {"file_name": str})):
            if not isinstance(picture.get("image_id"), (str, int)):
                raise PreparationError(f'{annotations}: data {position} has no "image_id"')
            pictures.append(picture)
        in_test = [str(picture["image_id"]) in test for picture in pictures]
        related = [bool(picture.get("relations")) for picture in pictures]
        return cls(
            vocabulary=vocabulary_of(annotations, things + stuff, predicates),
            source={"format": "psg", "annotations": annotations_print, "images": images},
            rows=_rows(held_out(annotations, split, pictures, in_test, related, val_images), images),
            with_images=images is not None,
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list | None:
        relations = row.content.get("relations")
        if not isinstance(relations, list) or not isinstance(row.content.get("annotations"), list):
            problems.add("malformed_annotation", f'{row.image_id}: no list "relations" or "annotations"')
            return None
        return relations

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        segments = row.content["annotations"]
        boxes = [self._box(f"{row.image_id}, segment {n}", segment, graph) for n, segment in enumerate(segments)]
        for position, relation in enumerate(relations):
            where = f"{row.image_id}, relation {position}"
            if not (
                isinstance(relation, list)
                and len(relation) == 3
                and all(is_id(end, len(segments)) for end in relation[:2])
            ):
                graph.problems.add("malformed_annotation", f"{where}: {short(relation)} of {len(segments)} segments")
            elif not is_id(relation[2], len(self.vocabulary.relations)):
                graph.problems.add("unknown_relation", f"{where}: {short(relation[2])}")
            else:
                subject, object_ = boxes[relation[0]], boxes[relation[1]]
                if subject is not None and object_ is not None:
                    graph.relate(where, subject, relation[2], object_)

    def _box(self, where: str, segment: object, graph: SceneGraph) -> int | None:
        if not isinstance(segment, dict):
            graph.problems.add("malformed_annotation", f"{where}: {short(segment)}")
            return None
        category, corners = segment.get("category_id"), segment.get("bbox")
        if not is_id(category, len(self.vocabulary.entities)):
            graph.problems.add("unknown_entity", f"{where}: {short(category)} of {len(self.vocabulary.entities)}")
            return None
        if not is_box(corners):
            graph.problems.add("malformed_box", f"{where}: {short(corners)}")
            return None
        x0, y0, x1, y1 = corners
        return graph.box(where, (y0, x0, y1, x1), category)


def _rows(pictures: list[dict], images: str | None) -> list[AnnotatedImage]:
    seen: collections.Counter[str] = collections.Counter()
    rows = []
    for picture in pictures:
        name = picture["file_name"]
        seen[name] += 1
        path = os.path.join(images, name) if images is not None else None
        rows.append(
            AnnotatedImage(
                image_id=name if seen[name] == 1 else f"{name}#{seen[name]}",
                content=picture,
                path=path if path is not None and os.path.exists(path) else None,
                metadata=picture,
            )
        )
    return rows
