"""Queries in words: the one place that reads "subject, relation, object"."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Sequence

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary, plain

# Errors may come from a stranger's request: they stay short, and cheap to make.
_SHOWN, _COMPARED, _LISTED = 60, 100, 100


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
        text = _shown(self.text)
        return f'a query is "subject, relation, object", three parts with commas between them; {text} has {count}'

    def ids(self, vocabulary: Vocabulary) -> tuple[int, int, int]:
        """Class ids (subject, relation, object); upper case and extra blanks do not matter.

        Raises:
          ValueError: there are not three parts, or one of them is not in the vocabulary; names the near matches.
        """
        if self.problem:
            raise ValueError(self.problem)
        names = (vocabulary.entities, vocabulary.relations, vocabulary.entities)
        subject, relation, object_ = map(look_up, QUERY_PARTS, self.parts, names)
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


def look_up(part: str, name: str, names: Sequence[str]) -> int:
    """The class id of a name; upper case and extra blanks do not matter.

    Args:
      part: "subject", "relation" or "object", for the error.
      name: any text.
      names: the entity names or the relation names of a vocabulary; those of a `Vocabulary` are remembered.

    Raises:
      ValueError: it is not among them; names the near matches. The sentence is short, however long `name` is.
    """
    ids, name = _ids(tuple(names)), plain(name)
    if name in ids:
        return ids[name]
    near = difflib.get_close_matches(name, ids, n=3) if len(name) <= _COMPARED else []
    if near:
        raise ValueError(f"unknown {part} {_shown(name)}: did you mean {' or '.join(map(repr, near))}?")
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    raise ValueError(f"unknown {part} {_shown(name)}; the vocabulary has {', '.join(names[:_LISTED])}{rest}")


@functools.lru_cache(maxsize=16)
def _ids(names: tuple[str, ...]) -> dict[str, int]:
    return {plain(name): number for number, name in enumerate(names)}


def _shown(text: str) -> str:
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}..."
