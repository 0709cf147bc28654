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
        groups = [source.relations for source in sources]
        self.phrases = lexicon.build(list(map(tokens, names)), groups, _forms_of_name, _forms)
        self.words = frozenset(word for phrase in self.phrases for word in phrase)
        others = (tokens(phrase) for group in groups for phrases in group for phrase in phrases)
        self._others = frozenset(form for phrase in others for form, _ in ((phrase, False), *_forms(phrase)))

    def read(self, words: Tokens) -> frozenset[lexicon.Meaning]:
        """The relations, and whether the phrase exchanges subject and object; none where it is not understood.

        Words such as "who is" or "located" do not count, but where they are part of a name.
        """
        return next((self.phrases[some] for some in _without_beginnings(words) if some in self.phrases), frozenset())

    def is_one(self, words: Tokens) -> bool:
        """Whether a phrase is a relation at all, of this vocabulary or not."""
        return any(
            some in self.phrases
            or some in self._others
            or (forms.lemma(some[0]) is not None and (len(some) == 1 or self.is_one(some[1:])))
            for some in _without_beginnings(words)
        )


def _without_beginnings(words: Tokens) -> Iterator[Tokens]:
    """A phrase with ever fewer of the words before it that do not count."""
    for start, word in enumerate(words):
        yield words[start:]
        if word not in _BEFORE and not (start == 0 and word in RELATIVE):
            break


@functools.lru_cache(maxsize=4096)
def _forms(phrase: Tokens) -> tuple[tuple[Tokens, bool], ...]:
    active = ((form, False) for form in forms.active(phrase))
    return (*active, *((form, True) for form in forms.passive(phrase)))


def _forms_of_name(phrase: Tokens) -> tuple[tuple[Tokens, bool], ...]:
    """A name may be a passive itself; then its active form exchanges subject and object."""
    inner = forms.without_passive(phrase)
    return _forms(phrase) if inner is None else tuple((form, True) for form in forms.active(inner))
