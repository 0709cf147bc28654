"""Which relations a phrase stands for: "left of", "who is riding", "worn by"."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from dsg_tf.words import forms, lexicon
from dsg_tf.words.aliases import Aliases
from dsg_tf.words.tokens import Tokens, tokens

RELATIVE = frozenset(("that", "which", "who", "whom"))
COPULA = frozenset(("is", "are", "was", "were", "be", "being", "been", "'s"))
# What may stand before a relation, and says nothing beside it: where something stands, and how exactly.
_BEFORE = COPULA | frozenset(
    ("directly", "right", "just", "immediately", "currently")
    + ("located", "positioned", "placed", "situated", "found", "standing", "stands", "sitting", "sits", "lying", "lies")
)


class Relations:
    """The relation names of a vocabulary, as people speak of them; arguments as of `Entities`."""

    def __init__(self, names: Sequence[str], sources: Sequence[Aliases]):
        self.phrases = lexicon.build(list(map(tokens, names)), [source.relations for source in sources], _inflect)
        self.words = frozenset(word for phrase in self.phrases for word in phrase)

    def read(self, words: Tokens) -> frozenset[lexicon.Meaning]:
        """The relations, and whether the phrase exchanges subject and object; none where it is not understood.

        Words such as "who is" or "located" do not count, but where they are part of a name.
        """
        for start, word in enumerate(words):
            if words[start:] in self.phrases:
                return self.phrases[words[start:]]
            if word not in _BEFORE and not (start == 0 and word in RELATIVE):
                break
        return frozenset()


@functools.lru_cache(maxsize=4096)
def _inflect(phrase: Tokens) -> tuple[tuple[Tokens, bool], ...]:
    return tuple(_forms(phrase))


def _forms(phrase: Tokens) -> Iterator[tuple[Tokens, bool]]:
    inner = forms.without_passive(phrase)
    if inner is not None:
        yield from ((form, True) for form in forms.active(inner))
        return
    yield from ((form, False) for form in forms.active(phrase))
    yield from ((form, True) for form in forms.passive(phrase))
