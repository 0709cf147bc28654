"""Pictures to begin with, rendered on the spot, and questions to begin with, read off a scene graph."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from dsg_tf.data.synthetic import scenes
from dsg_tf.predict.answers import LabelledGraph

SEED = 2024  # Of no split of the synthetic set: no model has seen them.
COUNT = 4
QUESTIONS = 3
# As people say it; a relation that is not here is said by its name.
_SAID = {"left": "left of", "right": "right of", "front": "in front of"}


@functools.cache
def picture(number: int) -> bytes:
    """JPEG number `number` of `COUNT`."""
    return scenes.render_scene(SEED, number).image


def questions(graph: LabelledGraph) -> list[str]:
    """`QUESTIONS` that hold by the graph, about things of different names, and one that does not.

    The last one that holds leaves open what its subject is. There are fewer where the graph has not as many names.
    """
    true = dict.fromkeys(_triplets(graph))
    held: list[tuple[str, str, str]] = []
    for triplet in true:
        ends = {triplet[0], triplet[2]}
        if len(held) < QUESTIONS and len(ends) == 2 and not any(ends & {s, o} for s, _, o in held):
            held.append(triplet)
    turned = [(o, r, s) for s, r, o in held if (o, r, s) not in true]
    told = [_said(*triplet) for triplet in held]
    if len(held) > 1:
        told[-1] = _said("something", *held[-1][1:])
    return told + [_said(*triplet) for triplet in turned[:1]]


def _triplets(graph: LabelledGraph) -> Iterator[tuple[str, str, str]]:
    for subject, relation, object_ in graph.relations:
        yield graph.entities[subject], relation, graph.entities[object_]


def _said(subject: str, relation: str, object_: str) -> str:
    return f"{subject}, {relation}, {object_}" if relation not in _SAID else f"{subject} {_SAID[relation]} {object_}"
