"""Checks the words of queries before they cost a run of the network, and names near matches."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dsg_tf.data import queries
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary, plain
from export.serving.status import Status

_REMEMBERED = 10_000  # Spellings of known words: upper case and blanks make many of one.


class Words:
    """The vocabulary of a version.

    Args:
      vocabulary: its words.
    """

    def __init__(self, vocabulary: Vocabulary):
        self.vocabulary = vocabulary
        self._names = {
            part: vocabulary.relations if part == "relation" else vocabulary.entities for part in QUERY_PARTS
        }
        self._known: dict[str, set[bytes]] = {part: {b""} for part in QUERY_PARTS}

    def check(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Checks all queries of a request; what differs in shape is left to the graph to refuse.

        Raises:
          Status: INVALID_ARGUMENT: a word is unknown, or a query is empty in part; names the first one.
        """
        if not set(QUERY_PARTS) <= set(inputs) or len({inputs[part].shape for part in QUERY_PARTS}) > 1:
            return
        for part in QUERY_PARTS:
            known = self._known[part]
            for index, word in enumerate(inputs[part].ravel()):
                if word not in known:
                    self._look_up(part, word, _place(index, inputs[part].shape))
        empty = np.stack([_is_empty(inputs[part]) for part in QUERY_PARTS], axis=-1)
        broken = np.argwhere(empty & ~empty.all(axis=-1, keepdims=True))
        if len(broken):
            image, query, part = broken[0]
            raise Status("INVALID_ARGUMENT", f"query {query} of image {image} has no {QUERY_PARTS[part]}")

    def _look_up(self, part: str, word: bytes, place: str) -> None:
        text = word.decode("utf-8", "replace")
        if plain(text):
            try:
                queries.look_up(part, text, self._names[part])
            except ValueError as error:
                raise Status("INVALID_ARGUMENT", f"{place}: {error}") from error
        if len(self._known[part]) < _REMEMBERED and len(word) < 1000:
            self._known[part].add(word)


def _is_empty(words: np.ndarray) -> np.ndarray:
    return np.array([not word.strip() for word in words.ravel()], bool).reshape(words.shape)


def _place(index: int, shape) -> str:
    image, query = np.unravel_index(index, shape)
    return f"query {query} of image {image}"
