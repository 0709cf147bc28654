"""Sentences and what they ask for: those written by hand, and those that templates make."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator

import vocabularies
from paths import ROOT

from dsg_tf.data.scene import Vocabulary
from dsg_tf.words import aliases, forms
from dsg_tf.words.words import Words

_TEMPLATES = (
    "{s} {r} {o}",
    "the {s} {r} the {o}",
    "a {s} that is {r} a {o}.",
    "Find the {s} {r} the {o}!",
    "Is there a {s} {r} the {o}?",
    "{s}, {r}, {o}",
    "the {s} , {r} , the {o}",
    "please show me the {s} which is {r} the {o}",
    "{r}: {o}",
    "{ss} {r} {oo}",
    "{S} {R} {O}",
)


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A text about the vocabulary of a name, and what it asks for.

    Attributes:
      subjects, relations, objects: class ids; none where it has to be refused.
      near: then a name or its words that is among the near matches; "" for any.
      words: then words of the text that the error names; "" for any.
    """

    vocabulary: str
    text: str
    subjects: tuple[int, ...] = ()
    relations: tuple[int, ...] = ()
    objects: tuple[int, ...] = ()
    near: str = ""
    words: str = ""


def by_hand() -> Iterator[Sentence]:
    """The rows of `tests/words/sentences.tsv`."""
    with open(os.path.join(ROOT, "tests", "words", "sentences.tsv"), encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    for name, text, subjects, relations, objects in rows:
        vocabulary = vocabularies.BY_NAME[name]
        if subjects == "!":
            yield Sentence(name, text, near=relations.strip("-"), words=objects.strip("-"))
        else:
            entities = vocabulary.entities
            asked = _ids(subjects, entities), _ids(relations, vocabulary.relations), _ids(objects, entities)
            yield Sentence(name, text, *asked)


def from_templates(seed: int, count: int) -> Iterator[Sentence]:
    """Sentences with the names of each vocabulary, `count` for each."""
    rng = random.Random(seed)
    for name, vocabulary in vocabularies.BY_NAME.items():
        for _ in range(count):
            yield _written(rng.choice(_TEMPLATES), name, vocabulary, rng)


def readers(folder) -> dict[str, Words]:
    """A reader for each vocabulary; Visual Genome's has aliases in the form of its files, which go into `folder`."""
    paths = [os.path.join(folder, name) for name in ("object_alias.txt", "relationship_alias.txt")]
    for path, text in zip(paths, (vocabularies.VG_OBJECT_ALIAS, vocabularies.VG_RELATIONSHIP_ALIAS)):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    result = {name: Words(vocabulary) for name, vocabulary in vocabularies.BY_NAME.items()}
    of_vg = vocabularies.BY_NAME["vg"]
    result["vg"] = Words(of_vg, (aliases.read_visual_genome(*paths), *aliases.for_vocabulary(of_vg)))
    return result


def _ids(spec: str, names: tuple[str, ...]) -> tuple[int, ...]:
    found: set[int] = set()
    for part in spec.split(" / "):
        words = set(part.strip("{}").split())
        if part == "*":
            found.update(range(len(names)))
        elif part.startswith("{"):
            found.update(number for number, name in enumerate(names) if words <= set(name.split()))
        else:
            found.add(names.index(part))
    return tuple(sorted(found))


def _written(template: str, name: str, vocabulary: Vocabulary, rng: random.Random) -> Sentence:
    subject, object_ = (rng.randrange(len(vocabulary.entities)) for _ in range(2))
    relation = rng.randrange(len(vocabulary.relations))
    words = {"s": vocabulary.entities[subject], "r": vocabulary.relations[relation], "o": vocabulary.entities[object_]}
    words |= {letter.upper(): word.upper() for letter, word in words.items()}
    many = (
        vocabulary.entities.index(_plural(words[letter])) if _plural(words[letter]) in vocabulary.entities else None
        for letter in "so"
    )
    if "{ss}" in template:  # The vocabulary may have the plural as another name.
        subject, object_ = (other if other is not None else one for other, one in zip(many, (subject, object_)))
    subjects = (subject,) if "{s" in template.lower() else tuple(range(len(vocabulary.entities)))
    text = template.format(**words, ss=_plural(words["s"]), oo=_plural(words["o"]))
    return Sentence(name, text, subjects, (relation,), (object_,))


def _plural(name: str) -> str:
    return " ".join(next(forms.plurals(tuple(name.split()))))
