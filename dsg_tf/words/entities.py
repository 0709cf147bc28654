"""Which entity classes a description stands for: "couches", "metal ball", "something red", "thing"."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from dsg_tf.words import forms, lexicon
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.tokens import Tokens, begins, phrases, tokens

# What may stand before a description and says nothing that boxes could show.
_BEFORE = phrases(
    *("this", "that", "these", "those", "some", "any", "all", "every", "each", "another", "other", "one", "which"),
    *("my", "your", "his", "her", "its", "our", "their", "all of", "any of", "some of", "each of", "one of"),
    *("pair of", "group of", "bunch of"),
)
# What may stand among the words of a description of several.
_AMONG = phrases(
    *("and", "of", "made of", "made from", "made out of", "that is", "that are", "that 's", "which is", "which are"),
    *("colored", "coloured", "in color", "in colour"),
)


class Entities:
    """The entity names of a vocabulary, as people speak of them.

    Args:
      names: by class id.
      sources: other words, those that win first.
    """

    def __init__(self, names: Sequence[str], sources: Sequence[Aliases]):
        of_names = list(map(tokens, names))
        groups = [source.entities for source in sources]
        self._all = frozenset(range(len(names)))
        self._whole = lexicon.build(of_names, groups, _plurals)
        self._anything = frozenset(_with_plurals(word for source in sources for word in source.anything))
        self._words: lexicon.Lexicon = {}
        self._classes: list[frozenset[int]] = []
        parts: list[str] = []
        if is_compositional(of_names):
            classes = collections.defaultdict(set)
            for number, name in enumerate(of_names):
                for word in name:
                    classes[word].add(number)
            self._classes, parts = list(map(frozenset, classes.values())), list(classes)
            self._words = lexicon.build([(word,) for word in parts], groups, _plurals)
        self._longest = max(map(len, (*self._words, *self._anything)), default=1)
        self.phrases: dict[Tokens, frozenset[int]] = {
            **{phrase: self._of_words(found) for phrase, found in self._words.items()},
            **{phrase: _ids(found) for phrase, found in self._whole.items()},
        }
        # Of what stands for parts of names, which.
        self.parts = {phrase: tuple(parts[meaning.id] for meaning in found) for phrase, found in self._words.items()}
        self.words = frozenset(word for phrase in (*self.phrases, *self._anything) for word in phrase)

    def read(self, words: Tokens) -> frozenset[int]:
        """The classes that fit a description, all words of which count; none where it is not understood."""
        found = self._described(words)
        for phrase in _BEFORE:
            if not found and len(phrase) < len(words) and begins(words, phrase):
                found = self.read(words[len(phrase) :])
        return found

    def _described(self, words: Tokens) -> frozenset[int]:
        if words in self._whole:
            return _ids(self._whole[words])
        if words in self._anything:
            return self._all
        return self._put_together(words) if self._words else frozenset()

    def _put_together(self, words: Tokens) -> frozenset[int]:
        """The classes that have all the words, as names of colour, material and shape have."""
        found, start = self._all, 0
        while start < len(words):
            rest = words[start:]
            phrase = next((rest[:n] for n in range(self._longest, 0, -1) if self._is_known(rest[:n])), ())
            between = next((some for some in _AMONG if begins(rest, some)), ())
            if len(phrase) >= max(len(between), 1):
                found &= self._of_words(self._words[phrase]) if phrase in self._words else self._all
            elif not between or not start or between == rest:
                return frozenset()
            start += max(len(phrase), len(between))
        return found

    def _is_known(self, phrase: Tokens) -> bool:
        return phrase in self._words or phrase in self._anything

    def _of_words(self, meanings: frozenset[lexicon.Meaning]) -> frozenset[int]:
        return frozenset[int]().union(*(self._classes[meaning.id] for meaning in meanings))


def is_compositional(names: Sequence[Tokens]) -> bool:
    """Whether names are put together of words, as CLEVR's: so many in each, some in several, each at its place."""
    places: dict[str, set[int]] = collections.defaultdict(set)
    count: collections.Counter[str] = collections.Counter()
    for name in names:
        for place, word in enumerate(name):
            places[word].add(place)
            count[word] += 1
    lengths = set(map(len, names))
    return (
        len(lengths) == 1
        and lengths.pop() > 1
        and max(count.values()) > 1
        and all(len(found) == 1 for found in places.values())
    )


def _ids(meanings: frozenset[lexicon.Meaning]) -> frozenset[int]:
    return frozenset(meaning.id for meaning in meanings)


def _plurals(phrase: Tokens) -> Iterator[tuple[Tokens, bool]]:
    return ((form, False) for form in forms.plurals(phrase))


def _with_plurals(words) -> Iterator[Tokens]:
    for phrase in map(tokens, words):
        yield phrase
        yield from forms.plurals(phrase)
