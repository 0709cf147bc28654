"""Other words for the names of a vocabulary: files of groups that mean the same, and which of them is for it.

A file is JSON, `{"entities": [["couch", "sofa"], ...], "relations": [["above", "over"], ...], "anything": ["shape"]}`,
each key with a list that may be missing. In a group, those that the vocabulary has are names, the others are other
words for each of these: a group without a name says nothing. Visual Genome's `object_alias.txt` and
`relationship_alias.txt` are groups too, a line each with commas between.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
import os
import shutil

from dsg_tf.data.scene import Vocabulary
from dsg_tf.words.tokens import tokens

# What may lie beside a model's vocabulary.json: a file of ours, and those that Visual Genome publishes.
FILE, OBJECT_ALIAS, RELATIONSHIP_ALIAS = "aliases.json", "object_alias.txt", "relationship_alias.txt"
GENERAL = "english"
_SHIPPED = ("clevr", "coco", "vrd")
# Share of the entity names from which on a file that comes with the program is one for the vocabulary.
COVERED = 0.8
_KEYS = ("entities", "relations", "anything")
Groups = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Aliases:
    """Groups of names and other words that mean the same.

    Attributes:
      entities, relations: the groups.
      anything: words for whatever it is, as "thing".
    """

    entities: Groups = ()
    relations: Groups = ()
    anything: tuple[str, ...] = ()

    def coverage(self, vocabulary: Vocabulary) -> float:
        """Share of the entity names that stand in a group, or whose words all do, as "red" and "cube" may."""
        known = {tokens(word) for group in self.entities for word in group}
        covered = [
            tokens(name) in known or all((word,) in known for word in tokens(name)) for name in vocabulary.entities
        ]
        return sum(covered) / len(covered)


def read(path: str) -> Aliases:
    """Reads a JSON file of aliases.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not of the form; names the file and the key.
    """
    with open(path, encoding="utf-8") as file:
        return _parse(file.read(), path)


def read_visual_genome(object_alias: str = "", relationship_alias: str = "") -> Aliases:
    """Reads the alias files that Visual Genome publishes: each line a group, the name first, commas between.

    Args:
      object_alias, relationship_alias: paths; "" for none.
    """
    return Aliases(entities=_lines(object_alias), relations=_lines(relationship_alias))


def for_vocabulary(vocabulary: Vocabulary, directory: str = "") -> tuple[Aliases, ...]:
    """All that applies to a vocabulary; what comes earlier wins where two know a word.

    Args:
      vocabulary: of the model.
      directory: of the model: its `aliases.json`, `object_alias.txt` and `relationship_alias.txt` come first.

    Returns:
      Those that are there; then, of the files for CLEVR, COCO and VRD that come with the program, the one that knows
      most of the entity names, where it knows four fifths; then the one for English in general.
    """
    result = _own(directory) if directory else []
    best = max((shipped(name) for name in _SHIPPED), key=lambda aliases: aliases.coverage(vocabulary))
    if best.coverage(vocabulary) >= COVERED:
        result.append(best)
    return (*result, shipped(GENERAL))


def _own(directory: str) -> list[Aliases]:
    """What lies in a directory, if anything does."""
    path, *published = (os.path.join(directory, name) for name in (FILE, OBJECT_ALIAS, RELATIONSHIP_ALIAS))
    result = [read(path)] if os.path.exists(path) else []
    there = [path if os.path.exists(path) else "" for path in published]
    return [*result, read_visual_genome(*there)] if any(there) else result


def copy(source: str, target: str) -> None:
    """Takes the files of a model along, from one directory to another, as far as they are there; reads them first.

    Raises:
      ValueError: one is not of the form.
    """
    _own(source)
    for name in (FILE, OBJECT_ALIAS, RELATIONSHIP_ALIAS):
        if os.path.exists(os.path.join(source, name)):
            shutil.copyfile(os.path.join(source, name), os.path.join(target, name))


@functools.cache
def shipped(name: str) -> Aliases:
    """One of the files that come with the program: "clevr", "coco", "vrd", "english"."""
    file = importlib.resources.files("dsg_tf.words") / "shipped" / f"{name}.json"
    return _parse(file.read_text(encoding="utf-8"), str(file))


def _parse(text: str, path: str) -> Aliases:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(value, dict) or set(value) - set(_KEYS):
        found = ", ".join(map(str, value)) if isinstance(value, dict) else f"a {type(value).__name__}"
        raise ValueError(f"{path} must be an object with {', '.join(_KEYS)}, it has {found}")
    for key, groups in value.items():
        if not isinstance(groups, list):
            raise ValueError(f"{path}: {key} must be a list, not {json.dumps(groups)[:60]}")
    read = {key: tuple(_texts(group, f"{path}: {key}") for group in value.get(key, [])) for key in _KEYS[:2]}
    return Aliases(**read, anything=_texts(value.get("anything", []), f"{path}: anything"))


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not (isinstance(value, list) and all(isinstance(text, str) and tokens(text) for text in value)):
        raise ValueError(f"{where} must have lists of words, not {json.dumps(value)[:60]}")
    return tuple(value)


def _lines(path: str) -> Groups:
    if not path:
        return ()
    with open(path, encoding="utf-8") as file:
        groups = [tuple(word.strip() for word in line.split(",") if tokens(word)) for line in file]
    return tuple(group for group in groups if group)
