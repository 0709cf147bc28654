"""Why a sentence is not understood, in a sentence: which part of it, and what is near."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Mapping, Sequence

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary
from dsg_tf.words.sentences import Grammar, Reading
from dsg_tf.words.tokens import Tokens, tokens

_NEAR, _SHOWN, _LISTED, _COMPARED = 3, 60, 20, 100


class NotUnderstood(ValueError):
    """A question that is not understood, or in more than one way.

    Attributes:
      text: as it was asked.
      part: "subject", "relation" or "object"; "" where it is about the whole.
      words: of that part.
      near: names of the vocabulary that may have been meant, the nearest first.
    """

    def __init__(self, text: str, message: str, *, part: str = "", words: str = "", near: Sequence[str] = ()):
        super().__init__(message)
        self.text, self.part, self.words, self.near = text, part, words, tuple(near)


def shown(text: str) -> str:
    """A text in quotes, cut where it is long."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."


class Refusals:
    """Finds what is wrong with questions.

    Args:
      vocabulary: of the model.
      grammar: that did not read them.
    """

    def __init__(self, vocabulary: Vocabulary, grammar: Grammar):
        self._vocabulary, self._grammar = vocabulary, grammar
        self._spelled = {part: self._all_spelled(part) for part in QUERY_PARTS}
        self._named = {part: self._all_named(part) for part in QUERY_PARTS}

    def ambiguous(self, text: str, readings: Sequence[Reading]) -> NotUnderstood:
        """Of readings that ask for different things, with relations of the same length."""
        ways = " or ".join(sorted({", ".join(map(" ".join, (r.subject, r.relation, r.object))) for r in readings}))
        return NotUnderstood(text, f"{shown(text)} can be read in several ways: {ways}; put commas between its parts")

    def of_parts(self, text: str, parts: Sequence[Tokens]) -> NotUnderstood:
        """Of subject, relation and object."""
        known = self._known(parts)
        for part, words in zip(QUERY_PARTS, parts):
            if not known[part]:
                return self._unknown(text, part, words)
        raise AssertionError(f"{text!r} is understood")

    def of_sentence(self, text: str, words: Tokens) -> NotUnderstood:
        """Of a sentence; the part is named that keeps the most of it from being understood."""
        if not words:
            return NotUnderstood(text, f"{shown(text)} has no words: ask such as {self._example()}")
        missing = self._missing(text, words)
        if missing is not None:
            return missing
        best, most = None, (0, False, 0)
        for start, stop in itertools.combinations(range(1, len(words)), 2):
            parts = words[:start], words[start:stop], words[stop:]
            known = self._known(parts)
            clear = known["subject"], self._grammar.relations.is_one(parts[1]), known["object"]
            measure = sum(clear), clear[1], sum(len(part) for part, is_clear in zip(parts, clear) if is_clear)
            if measure > most:
                best, most = parts, measure
        if best is not None and most[0] > 1:
            return self.of_parts(text, best)
        return self._words(text, words)

    def _missing(self, text: str, words: Tokens) -> NotUnderstood | None:
        """Of a description without a relation, and of a relation with nothing after it."""
        entities, relations = self._grammar.entities, self._grammar.relations
        said = " ".join(words)
        if entities.read(words):
            message = f"{shown(text)} has no relation: ask such as {self._example()}; {self._names('relation')}"
            return NotUnderstood(text, message, part="relation", words=said)
        for start in range(len(words)):
            if relations.read(words[start:]) and (not start or entities.read(words[:start])):
                relation = " ".join(words[start:])
                message = f"{shown(text)} has no object after {relation!r}: ask such as {self._example()}"
                return NotUnderstood(text, message, part="object", words=said)
        return None

    def _known(self, parts: Sequence[Tokens]) -> dict[str, bool]:
        entities, relations = self._grammar.entities, self._grammar.relations
        return {
            part: bool(relations.read(words) if part == "relation" else entities.read(words))
            for part, words in zip(QUERY_PARTS, parts)
        }

    def _unknown(self, text: str, part: str, words: Tokens) -> NotUnderstood:
        said, near = " ".join(words), self._near(part, words)
        message = f"unknown {part} {shown(said)}"
        if part != "relation" and self._has_relation(words):
            message += ": one relation is asked for at a time"
        elif near:
            message += f": did you mean {' or '.join(map(repr, near))}?"
        else:
            message += f"; {self._names(part)}"
        return NotUnderstood(text, message, part=part, words=said, near=near)

    def _words(self, text: str, words: Tokens) -> NotUnderstood:
        """Of a sentence of which too little is known to tell its parts: the words that are in no name."""
        grammar = self._grammar
        known = grammar.entities.words | grammar.relations.words
        unknown = [word for word in words if word not in known]
        near = [name for word in unknown for part in QUERY_PARTS[:2] for name in self._near(part, (word,))]
        near = list(dict.fromkeys(near))[:_NEAR]
        said = " ".join(unknown or words)
        message = f"{shown(text)} is not understood"
        message += f", {shown(said)} is not known" if unknown else ""
        message += f": did you mean {' or '.join(map(repr, near))}?" if near else f": ask such as {self._example()}"
        return NotUnderstood(text, message, words=said, near=near)

    def _has_relation(self, words: Tokens) -> bool:
        """Whether there is a relation inside, between something and something else."""
        return any(
            self._grammar.relations.read(words[start:stop])
            for start, stop in itertools.combinations(range(1, len(words)), 2)
        )

    def _near(self, part: str, words: Tokens) -> list[str]:
        """What may have been meant: what is spelled nearly so, else of each word what it is or nearly is."""
        said = " ".join(words)
        if len(said) > _COMPARED or part == "relation" and self._grammar.relations.is_one(words):
            return []  # What is well spelled is another relation, whatever looks like it.
        spelled, names = self._spelled[part], self._named[part]
        found = [word for word in words if word in names and part != "relation"]
        found += difflib.get_close_matches(said, names, n=_NEAR) or difflib.get_close_matches(said, spelled, n=_NEAR)
        if not found:
            known = self._grammar.entities.words | self._grammar.relations.words
            found = [
                near for word in words if word not in known for near in difflib.get_close_matches(word, spelled, 1)
            ]
        return list(dict.fromkeys(name for phrase in found for name in spelled[phrase]))[:_NEAR]

    def _all_named(self, part: str) -> set[str]:
        """The names themselves, as sentences have them."""
        names = self._vocabulary.relations if part == "relation" else self._vocabulary.entities
        return {" ".join(tokens(name)) for name in names if tokens(name)}

    def _all_spelled(self, part: str) -> dict[str, tuple[str, ...]]:
        """Phrases and what to call them: by the names that they stand for; what is a part of many, by that part."""
        grammar, names = self._grammar, self._vocabulary.entities
        ids: Mapping[Tokens, Iterable[int]] = grammar.entities.phrases
        if part == "relation":
            names = self._vocabulary.relations
            ids = {phrase: {meaning.id for meaning in found} for phrase, found in grammar.relations.phrases.items()}
        called = {}
        for phrase, found in ids.items():
            text, numbers = " ".join(phrase), sorted(found)
            of_many = grammar.entities.parts.get(phrase, (text,))
            called[text] = tuple(names[number] for number in numbers) if len(numbers) <= _NEAR else of_many
        return called

    def _names(self, part: str) -> str:
        kind = "relations" if part == "relation" else "entities"
        names = getattr(self._vocabulary, kind)
        rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f"the vocabulary has {', '.join(names[:_LISTED])}{rest}"

    def _example(self) -> str:
        entities, relations = self._vocabulary.entities, self._vocabulary.relations
        return repr(f"{entities[0]}, {relations[0]}, {entities[-1]}")
