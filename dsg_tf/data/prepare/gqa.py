"""Reads the scene graphs of GQA (Hudson and Manning, CVPR 2019): `train_sceneGraphs.json`, `val_sceneGraphs.json`.

The format is that of https://cs.stanford.edu/people/dorarad/gqa/download.html: `{image id: {"width", "height",
"objects": {object id: {"name", "x", "y", "w", "h", "relations": [{"name", "object": object id}, ...]}}}}`. An object is
the subject of its relations; x and y are its top left corner, in pixels. The image is `<image id>.jpg`.

The vocabulary are the most frequent names of the file, or of another one: the splits of a data set have to share it, so
`val` takes that of the training file.
"""

from __future__ import annotations

import dataclasses

from dsg_tf.data.image_files import index_images
from dsg_tf.data.json_files import read_json
from dsg_tf.data.prepare.named_graphs import (
    NUM_ENTITIES,
    NUM_RELATIONS,
    NamedGraph,
    NamedGraphs,
    NamedObject,
    NamedRelation,
    frequent_vocabulary,
    name_of,
)
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage


@dataclasses.dataclass(frozen=True)
class GqaSceneGraphs(NamedGraphs):
    """Images of one file in its order."""

    @classmethod
    def from_files(
        cls,
        annotations: str,
        images: str | None,
        vocabulary_from: str | None = None,
        num_entities: int = NUM_ENTITIES,
        num_relations: int = NUM_RELATIONS,
    ) -> GqaSceneGraphs:
        """Reads the scene graphs and lists the image folder, if there is one.

        Args:
          annotations: the scene graphs to read.
          images: folder of the images.
          vocabulary_from: the scene graphs in which names are counted; None for the same.
          num_entities, num_relations: how many classes.

        Raises:
          PreparationError: a file is missing or not of the format, or the folder is missing.
        """
        scenes, annotations_print = read_json(annotations, dict)
        graphs = {image_id: _graph(scene) for image_id, scene in scenes.items()}
        counted, counted_print = list(graphs.values()), annotations_print
        if vocabulary_from not in (None, annotations):
            others, counted_print = read_json(vocabulary_from, dict)
            counted = list(map(_graph, others.values()))
        paths = index_images(images)
        return cls(
            vocabulary=frequent_vocabulary(vocabulary_from or annotations, counted, num_entities, num_relations),
            source={
                "format": "gqa",
                "annotations": annotations_print,
                "images": images,
                "vocabulary_from": counted_print,
                "num_entities": num_entities,
                "num_relations": num_relations,
            },
            rows=[
                AnnotatedImage(f"{image_id}.jpg", graph, paths.get(f"{image_id}.jpg"), _size_of(scenes[image_id]))
                for image_id, graph in graphs.items()
            ],
            with_images=images is not None,
        )


def _graph(scene: object) -> NamedGraph | None:
    annotated = scene.get("objects") if isinstance(scene, dict) else None
    if not isinstance(annotated, dict):
        return None
    objects: dict = {}
    relations: list[NamedRelation] = []
    for key, obj in annotated.items():
        fields = obj if isinstance(obj, dict) else {}
        objects[key] = NamedObject(name_of(fields.get("name")), [fields.get(side) for side in ("x", "y", "w", "h")])
        of_object = fields.get("relations", [])
        # What is no list is one relation without a name: counted, and told as not of the form.
        for relation in of_object if isinstance(of_object, list) else [None]:
            relations.append(_relation(key, relation))
    return NamedGraph(objects, relations)


def _relation(subject: str, relation: object) -> NamedRelation:
    fields = relation if isinstance(relation, dict) else {}
    object_ = fields.get("object")
    return NamedRelation(subject, name_of(fields.get("name")), object_ if isinstance(object_, str) else None)


def _size_of(scene: object) -> object:
    return {key: scene.get(key) for key in ("width", "height")} if isinstance(scene, dict) else None
