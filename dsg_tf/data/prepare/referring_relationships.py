"""Reads the referring-relationships JSON format: Visual Genome, VRD and CLEVR as published with Krishna et al. 2018.

`annotations_<split>.json` is `{image file: [{"predicate": id, "subject": {"category": id, "bbox": [ymin, ymax, xmin,
xmax]}, "object": {...}}, ...]}`, `<split>_image_metadata.json` is `{image file: {"width": pixels, "height": pixels}}`,
`objects.json` and `predicates.json` are lists of names whose positions are the ids.
"""

from __future__ import annotations

import dataclasses

from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import read_json
from dsg_tf.data.prepare.checks import is_box, is_id, short
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Vocabulary


@dataclasses.dataclass(frozen=True)
class ReferringRelationships(SceneGraphs):
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
        paths = index_images(images)
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
                AnnotatedImage(image_id, relationships, paths.get(image_id), metadata.get(image_id))
                for image_id, relationships in annotated.items()
            ],
            with_images=images is not None,
        )

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list | None:
        if not isinstance(row.content, list):
            problems.add("malformed_annotation", f"{row.image_id}: {short(row.content)} is not a list")
            return None
        return row.content

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        image = _Relationships(graph, self.vocabulary)
        for position, relationship in enumerate(relations):
            image.add(f"{row.image_id}, relationship {position}", relationship)


class _Relationships:
    """The relationships of one image; what is wrong with an entity that occurs in several is counted once."""

    def __init__(self, graph: SceneGraph, vocabulary: Vocabulary):
        self._seen: dict[str, int | None] = {}  # as annotated -> index of the box, None if unusable
        self._graph, self._vocabulary, self._problems = graph, vocabulary, graph.problems

    def add(self, where: str, relationship: object) -> None:
        if not (isinstance(relationship, dict) and {"subject", "object"} <= relationship.keys()):
            self._problems.add("malformed_annotation", f"{where}: {short(relationship)}")
            return
        predicate, count = relationship.get("predicate"), len(self._vocabulary.relations)
        if not is_id(predicate, count):
            self._problems.add("unknown_relation", f"{where}: {short(predicate)} of {count}")
            predicate = None
        subject = self._entity(f"{where}, subject", relationship["subject"])
        object_ = self._entity(f"{where}, object", relationship["object"])
        if predicate is not None and subject is not None and object_ is not None:
            self._graph.relate(where, subject, predicate, object_)

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
        return self._graph.box(where, (y0, x0, y1, x1), category)
