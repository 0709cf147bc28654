"""The table of names, dtypes, shapes and units that stands beside an exported model and in the README."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from dsg_tf.data.scene import Vocabulary
from dsg_tf.process import files

# By name; B images, Q queries, N boxes, K relations. Boxes are [y0, x0, y1, x1].
MEANINGS = {
    "image": "bytes of a JPEG, PNG or WebP file; in refer_ids: RGB in 0 to 255, padded at the bottom and the right",
    "image_size": "height and width of the part of the network input that is image, pixels",
    "queries": "class ids: subject, relation, object",
    "subject": "name of the subject class; three empty strings pad a query",
    "relation": "name of the relation; in scene_graph: of each of the K most probable, best first",
    "object": "name of the object class",
    "boxes": "refined boxes, pixels of the original image (of the network input in refer_ids)",
    "valid": "which of the N boxes count",
    "answer_probability": "that what the query asks for is in the image at all; 0 where the query is padding",
    "role_probabilities": "Background, Subject, Object, Other of each box in each query; 0 where not valid",
    "subject_mask": "the answer set: boxes that are subjects of the query",
    "object_mask": "the same of objects",
    "subject_scores": "probability that a box is a subject of the query; of the pair, in a TWO STEP model",
    "object_scores": "the same of objects",
    "subject_box": "the most probable subject, coordinates as in boxes; zeros where the query is padding",
    "object_box": "the most probable object",
    "subject_score": "its probability",
    "object_score": "its probability",
    "pairs": "descriptors of the pairs of boxes, for answer",
    "nodes": "descriptors z'_i of the boxes, for answer",
    "entity_logits": "scores of the entity classes, for answer",
    "relation_logits": "scores of the relations, for answer",
    "entity": "class name of each box",
    "entity_score": "its probability; 0 where not valid",
    "relation_subject": "number of the subject's box",
    "relation_object": "number of the object's box",
    "relation_score": "probability of the triplet",
    "entities": "names of the entity classes, by class id: the subjects and objects of queries",
    "relations": "names of the relations, by class id",
}


def describe(functions, meanings: Mapping[str, str] = MEANINGS) -> dict[str, Any]:
    """{signature: {"inputs" or "outputs": {name: {"dtype", "shape", "meaning"}}}}."""
    result = {}
    for name, function in sorted(functions.items()):
        inputs = {spec.name: spec for spec in tf.nest.flatten(function.structured_input_signature)}
        result[name] = {
            "inputs": _tensors(inputs, meanings),
            "outputs": _tensors(function.structured_outputs, meanings),
        }
    return result


def write(
    functions, vocabulary: Vocabulary, source: dict[str, Any], path: str, meanings: Mapping[str, str] = MEANINGS
) -> None:
    """Writes the table, the words of queries, and what the model was made of."""
    table = {
        "signatures": describe(functions, meanings),
        "vocabulary": dataclasses.asdict(vocabulary),
        "source": source,
    }
    files.write_json(path, table)


def _tensors(specs, meanings: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list(), "meaning": meanings[name]}
        for name, spec in sorted(specs.items())
    }
