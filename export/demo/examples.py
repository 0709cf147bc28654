"""Pictures to begin with, rendered on the spot, and questions to begin with, read off a scene graph."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from dsg_tf.data.synthetic import scenes
from dsg_tf.predict.answers import LabelledGraph

SEED = 2024  # Of no split of the synthetic set: no model has seen them.
COUNT = 4
QUESTIONS = 4
# As people say it; a relation that is not here is said by its name.
_SAID = {"left": "left of", "right": "right of", "front": "in front of"}


@functools.cache
def picture(number: int) -> bytes:
    """JPEG number `number` of `COUNT`."""
    return scenes.render_scene(SEED, number).image


def questions(graph: LabelledGraph) -> list[str]:
    """`QUESTIONS` of different subjects that hold by the graph, and one that does not, where there is such."""
    held: list[str] = []
    subjects: set[str] = set()
    for subject, relation, object_ in _triplets(graph):
        if subject not in subjects and object_ != subject and len(held) < QUESTIONS - 1:
            subjects.add(subject)
            held.append(_said(subject, relation, object_))
    true = set(_triplets(graph))
    turned = (_said(o, r, s) for s, r, o in _triplets(graph) if s != o and (o, r, s) not in true)
    return held + [text for text in [next(turned, None)] if text is not None]


def _triplets(graph: LabelledGraph) -> Iterator[tuple[str, str, str]]:
    for subject, relation, object_ in graph.relations:
        yield graph.entities[subject], relation, graph.entities[object_]


def _said(subject: str, relation: str, object_: str) -> str:
    return f"{subject}, {relation}, {object_}" if relation not in _SAID else f"{subject} {_SAID[relation]} {object_}"
