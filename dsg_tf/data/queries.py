"""Queries in words: the one place that reads "subject, relation, object"."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary, plain


@dataclasses.dataclass(frozen=True)
class Query:
    """What is asked: `text` as the user wrote it, and its `parts`, of which there should be three."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Query:
        """Cuts the text at its commas; whether that makes a query, `problem` tells."""
        return cls(text, tuple(part.strip() for part in text.split(",")))

    @classmethod
    def of_words(cls, subject: str, relation: str, object_: str) -> Query:
        """A query of names, which may have commas in them."""
        return cls(", ".join((subject, relation, object_)), (subject, relation, object_))

    @property
    def problem(self) -> str:
        """Why this is no query; "" where it is one."""
        if len(self.parts) == len(QUERY_PARTS) and all(self.parts):
            return ""
        count = len(self.parts) if len(self.parts) > len(QUERY_PARTS) else sum(map(bool, self.parts))
        return (
            f'a query is "subject, relation, object", three parts with commas between them; {self.text!r} has {count}'
        )

    def ids(self, vocabulary: Vocabulary) -> tuple[int, int, int]:
        """Class ids (subject, relation, object); upper case and extra blanks do not matter.

        Raises:
          ValueError: there are not three parts, or one of them is not in the vocabulary; names the near matches.
        """
        if self.problem:
            raise ValueError(self.problem)
        names = (vocabulary.entities, vocabulary.relations, vocabulary.entities)
        subject, relation, object_ = map(_look_up, QUERY_PARTS, self.parts, names)
        return subject, relation, object_


def parse_all(texts: Sequence[str]) -> list[Query]:
    """Reads queries that all have to be whole.

    Raises:
      ValueError: one is not of three parts.
    """
    queries = [Query.parse(text) for text in texts]
    for query in queries:
        if query.problem:
            raise ValueError(query.problem)
    return queries


def _look_up(part: str, name: str, names: Sequence[str]) -> int:
    ids = {plain(known): number for number, known in enumerate(names)}
    if plain(name) in ids:
        return ids[plain(name)]
    near = difflib.get_close_matches(plain(name), ids, n=3)
    if near:
        raise ValueError(f"unknown {part} {plain(name)!r}: did you mean {' or '.join(map(repr, near))}?")
    raise ValueError(f"unknown {part} {plain(name)!r}; the vocabulary has {', '.join(names)}")
