"""Scene graphs whose classes are names that people typed: the most frequent ones are the vocabulary."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from dsg_tf.data.input_files import read_bytes
from dsg_tf.data.prepare.checks import corners_of, is_box, short, vocabulary_of
from dsg_tf.data.prepare.scene_graphs import AnnotatedImage, SceneGraph, SceneGraphs
from dsg_tf.data.problems import PreparationError, Problems
from dsg_tf.data.scene import Vocabulary, plain

NUM_ENTITIES, NUM_RELATIONS = 100, 70  # as Krishna et al. 2018 have them of Visual Genome


class NamedObject(NamedTuple):
    """A name, "" where the file has none, and [x, y, width, height] as the file has them; x, y is the top left."""

    name: str
    corners: list


class NamedRelation(NamedTuple):
    """The keys of two objects and a name, "" where the file has none."""

    subject: Hashable
    name: str
    object_: Hashable


class NamedGraph(NamedTuple):
    """What is annotated in one image: objects by their key in the file, and relations in its order."""

    objects: dict[Hashable, NamedObject]
    relations: list[NamedRelation]


def name_of(value: object) -> str:
    """A name in lower case without extra blanks; "" for what is no text."""
    return plain(value) if isinstance(value, str) else ""


def frequent_vocabulary(
    path: str, graphs: Iterable[NamedGraph | None], num_entities: int, num_relations: int
) -> Vocabulary:
    """The most frequent names of objects and of relations, the most frequent first, ties in alphabetical order.

    Args:
      path: the file with the graphs, for messages.
      graphs: all that count.
      num_entities, num_relations: how many names; where there are fewer, all.

    Raises:
      PreparationError: there is none.
    """
    entities: collections.Counter[str] = collections.Counter()
    relations: collections.Counter[str] = collections.Counter()
    for graph in graphs:
        if graph is not None:
            entities.update(obj.name for obj in graph.objects.values() if obj.name)
            relations.update(relation.name for relation in graph.relations if relation.name)
    return vocabulary_of(path, _most_frequent(entities, num_entities), _most_frequent(relations, num_relations))


def _most_frequent(counts: collections.Counter[str], number: int) -> list[str]:
    return sorted(counts, key=lambda name: (-counts[name], name))[:number]


def read_aliases(path: str | None) -> tuple[dict[str, str], str | None]:
    """Reads a file with one name a line, followed by what is to be taken for it: `man,guy,a man`.

    Args:
      path: the file, or None.

    Returns:
      ({other name: name}, the file's name with a hash of its bytes, None without a file).

    Raises:
      PreparationError: the file cannot be read.
    """
    if path is None:
        return {}, None
    content, file_print = read_bytes(path)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise PreparationError(f"{path} is not text in UTF-8: {error}") from error
    aliases: dict[str, str] = {}
    for line in lines:
        first, *others = map(plain, line.split(","))
        name = aliases.get(first, first)
        aliases.update({other: name for other in others if other and other != name})
    return aliases, file_print


@dataclasses.dataclass(frozen=True)
class NamedGraphs(SceneGraphs):
    """Images in file order; `content` of a row is a `NamedGraph`, or None where it is not of the format.

    All objects of a class of the vocabulary are boxes, whether or not they have a relation.
    """

    def _relations(self, row: AnnotatedImage, problems: Problems) -> list | None:
        if row.content is None:
            problems.add("malformed_annotation", f"{row.image_id}: no objects or relations")
            return None
        return row.content.relations

    def _read(self, row: AnnotatedImage, relations: list, graph: SceneGraph) -> None:
        objects: dict[Hashable, NamedObject] = row.content.objects
        entities = {name: number for number, name in enumerate(self.vocabulary.entities)}
        predicates = {name: number for number, name in enumerate(self.vocabulary.relations)}
        boxes = {
            key: _box(f"{row.image_id}, object {key}", obj, entities.get(obj.name), graph)
            for key, obj in objects.items()
        }
        for position, (subject, name, object_) in enumerate(relations):
            where = f"{row.image_id}, relationship {position}"
            if not name or subject not in objects or object_ not in objects:
                graph.problems.add("malformed_annotation", f"{where}: {short((subject, name, object_))}")
                continue
            words = objects[subject].name, name, objects[object_].name
            ends = boxes[subject], boxes[object_]
            # An object without a name is told of as such.
            if name not in predicates or any(word and word not in entities for word in (words[0], words[2])):
                graph.leave_out(where, words)
            elif ends[0] is not None and ends[1] is not None:
                graph.relate(where, ends[0], predicates[name], ends[1])


def _box(where: str, obj: NamedObject, entity: int | None, graph: SceneGraph) -> int | None:
    """The index of an object's box; None where it cannot be used, or has no class of the vocabulary."""
    if not obj.name:
        graph.problems.add("malformed_annotation", f"{where}: no name")
        return None
    if entity is None:
        return None
    if not is_box(obj.corners):
        graph.problems.add("malformed_box", f"{where}: {short(obj.corners)}")
        return None
    return graph.box(where, corners_of(*obj.corners), entity)
