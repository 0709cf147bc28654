"""The words of queries: checked before they cost a run of the network, and read where they are free text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dsg_tf.data import queries
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary, plain
from dsg_tf.predict.asked import Asked
from dsg_tf.words import words
from dsg_tf.words.aliases import Aliases
from export.serving.status import Status

_REMEMBERED = 10_000  # Spellings of known words: upper case and blanks make many of one.


class Words:
    """The vocabulary of a version.

    Args:
      vocabulary: its words.
      aliases: other words for them; None: those that come with the program.
    """

    def __init__(self, vocabulary: Vocabulary, aliases: Sequence[Aliases] | None = None):
        self.vocabulary = vocabulary
        self._reader = words.Words(vocabulary, aliases)
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

    def read(self, text: str) -> Asked:
        """What a question asks for, three names or free text.

        Raises:
          Status: INVALID_ARGUMENT: it is not understood.
        """
        try:
            return Asked.of_question(self._reader.read(text), self.vocabulary)
        except ValueError as error:
            raise Status("INVALID_ARGUMENT", str(error)) from error

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
