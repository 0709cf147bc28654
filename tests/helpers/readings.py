"""Reads a reader to its end, for the tests of readers."""

import collections

from dsg_tf.data.problems import Problems


def read(reader, strict=False):
    """(scenes, {kind: count}, annotated) of a reader."""
    problems, annotated = Problems(strict), collections.Counter()
    scenes = [scene for scene in reader.scenes(problems, annotated) if scene is not None]
    return scenes, {kind: entry["count"] for kind, entry in problems.found.items()}, annotated


def first_offenders(reader, kind):
    """What is said of the first problems of a kind."""
    problems = Problems()
    list(reader.scenes(problems, collections.Counter()))
    return problems.found[kind]["first"]


def in_words(scene, vocabulary):
    """The relations of a scene as (subject, relation, object), each box as its name and coordinates."""
    boxes = [(vocabulary.entities[e], *box) for e, box in zip(scene.entities, scene.boxes.tolist())]
    return [(boxes[s], vocabulary.relations[r], boxes[o]) for s, r, o in scene.relations]
