"""How a sentence may fall into subject, relation and object."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

from dsg_tf.words.entities import Entities
from dsg_tf.words.relations import COPULA, RELATIVE, Relations
from dsg_tf.words.tokens import Tokens, begins, ends, phrases

# What a request may begin and end with.
_REQUESTS = phrases(
    *("please", "can you", "could you", "find", "find me", "show", "show me", "tell me", "give me", "get me", "detect"),
    *("locate", "highlight", "point to", "point at", "point out", "mark", "select", "search for", "see", "spot", "is"),
    *("look for", "looking for", "i am looking for", "i m looking for", "i want", "i want to see", "i need", "are"),
    *("where is", "where are", "where 's", "is there", "are there", "there is", "there are", "there 's", "do you see"),
    *("what is", "what are", "what 's", "who is", "who 's", "image of", "picture of", "photo of"),
)
_ENDINGS = phrases(
    *("please", "here", "in image", "in picture", "in photo", "in scene", "on image", "on picture", "on photo"),
    *("in this image", "in this picture", "in this photo", "in this scene"),
)
_INVERSIONS = phrases("is", "are", "'s", "there is", "there are", "is there", "are there", "there 's", "stands", "sits")


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read a sentence.

    Attributes:
      subject, relation, object: the words; no words where anything may be the subject.
      subjects, relations, objects: what they stand for, by id.
      rank: of several readings the one with the highest counts: one that has a subject, then that with the longest
        relation.
    """

    subject: Tokens
    relation: Tokens
    object: Tokens
    subjects: frozenset[int]
    relations: frozenset[int]
    objects: frozenset[int]
    rank: tuple[bool, int]

    @property
    def asked(self) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        return self.subjects, self.relations, self.objects


def requests(words: Tokens) -> Iterator[Tokens]:
    """A sentence without what makes it a request: first with all of its words, then with ever fewer."""
    begun = [words]
    while True:
        shorter = next((begun[-1][len(p) :] for p in _REQUESTS if begins(begun[-1], p) and begun[-1] != p), None)
        if shorter is None:
            break
        begun.append(shorter)
    for some in begun:
        yield some
        while True:
            shorter = next((some[: len(some) - len(p)] for p in _ENDINGS if ends(some, p) and some != p), None)
            if shorter is None:
                break
            some = shorter
            yield some


class Grammar:
    """Reads sentences with the words of a vocabulary."""

    def __init__(self, entities: Entities, relations: Relations):
        self.entities, self.relations = entities, relations
        self._anything = entities.read(("anything",))

    def best(self, words: Tokens) -> list[Reading]:
        """The readings that count: of the highest rank, one for each that something else is asked by."""
        found: dict[tuple, Reading] = {}
        for reading in self._readings(words):
            before = found.get(reading.asked)
            if before is None or before.rank < reading.rank:
                found[reading.asked] = reading
        highest = max((reading.rank for reading in found.values()), default=None)
        return [reading for reading in found.values() if reading.rank == highest]

    def of_parts(self, subject: Tokens, relation: Tokens, object_: Tokens) -> Iterator[Reading]:
        """What three parts say; where the relation names the object first, they are exchanged."""
        meanings = self.relations.read(relation)
        subjects = (self.entities.read(subject) if subject else self._anything) if meanings else frozenset[int]()
        objects = self.entities.read(object_) if subjects else frozenset[int]()
        if objects:
            rank = bool(subject), len(relation)
            for swapped in sorted({meaning.swapped for meaning in meanings}):
                ids = frozenset(meaning.id for meaning in meanings if meaning.swapped == swapped)
                if swapped:
                    yield Reading(object_, relation, subject, objects, ids, subjects, rank)
                else:
                    yield Reading(subject, relation, object_, subjects, ids, objects, rank)

    def _readings(self, words: Tokens) -> Iterator[Reading]:
        for start, stop in itertools.combinations(range(len(words) + 1), 2):
            subject, relation, object_ = words[:start], words[start:stop], words[stop:]
            if not self.relations.read(relation):
                continue
            if object_ and (subject or relation[0] not in RELATIVE):
                yield from self.of_parts(subject, relation, object_)  # "dog left of cat", "left of cat"
            if object_ and not subject and relation[0] not in RELATIVE | COPULA:
                yield from self._inverted(relation, object_)
            if not object_:
                yield from self._relative(subject, relation)

    def _inverted(self, relation: Tokens, rest: Tokens) -> Iterator[Reading]:
        """ "left of the cat is a dog"."""
        for middle in range(1, len(rest)):
            for phrase in _INVERSIONS:
                if begins(rest[middle:], phrase) and len(rest) > middle + len(phrase):
                    yield from self.of_parts(rest[middle + len(phrase) :], relation, rest[:middle])

    def _relative(self, words: Tokens, relation: Tokens) -> Iterator[Reading]:
        """ "the horse that a person rides"."""
        for middle in range(1, len(words) - 1):
            if words[middle] in RELATIVE:
                yield from self.of_parts(words[middle + 1 :], relation, words[:middle])
