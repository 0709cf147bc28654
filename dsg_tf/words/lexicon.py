"""Which of some names a phrase stands for: a name, a form of it, another word for it, or a form of that."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dsg_tf.words.aliases import Groups
from dsg_tf.words.tokens import Tokens, tokens


class Meaning(NamedTuple):
    """A name, by its id; `swapped` where the phrase exchanges subject and object, as "ridden by" for "ride"."""

    id: int
    swapped: bool = False


Lexicon = Mapping[Tokens, frozenset[Meaning]]
# The forms of a phrase, and whether each exchanges subject and object.
Forms = Callable[[Tokens], Iterable[tuple[Tokens, bool]]]
_Layer = dict[Tokens, set[Meaning]]


def build(
    names: Sequence[Tokens], sources: Iterable[Groups], forms: Forms, forms_of_others: Forms | None = None
) -> Lexicon:
    """What phrases stand for; where a phrase has several meanings, those nearest to a name count.

    The order is: names, their forms, then of each source other words and their forms. What is equally near to several
    names stands for all of them.

    Args:
      names: by id; empty ones have no phrase.
      sources: groups of words that mean the same.
      forms: what a name may look like in a sentence.
      forms_of_others: what another word for it may look like; None: the same.
    """
    result: dict[Tokens, frozenset[Meaning]] = {}
    exact: _Layer = collections.defaultdict(set)
    for number, name in enumerate(names):
        if name:
            exact[name].add(Meaning(number))
    _extend(result, exact)
    _extend(result, _inflected(exact, forms))
    of_names = dict(result)
    for groups in sources:
        others = _others(groups, of_names)
        _extend(result, others)
        _extend(result, _inflected(others, forms_of_others or forms))
    return result


def _extend(result: dict[Tokens, frozenset[Meaning]], layer: _Layer) -> None:
    for phrase, meanings in layer.items():
        result.setdefault(phrase, frozenset(meanings))


def _inflected(layer: _Layer, forms: Forms) -> _Layer:
    result: _Layer = collections.defaultdict(set)
    for phrase, meanings in layer.items():
        for form, swaps in forms(phrase):
            result[form].update(Meaning(number, swapped != swaps) for number, swapped in meanings)
    return result


def _others(groups: Groups, of_names: Lexicon) -> _Layer:
    """The words of groups that are no names; each stands for all names of its groups."""
    result: _Layer = collections.defaultdict(set)
    for group in (tuple(map(tokens, group)) for group in groups):
        meanings = frozenset[Meaning]().union(*_named(group, of_names))
        for phrase in group:
            if phrase not in of_names and meanings:
                result[phrase] |= meanings
    return result


def _named(group: Iterable[Tokens], of_names: Lexicon) -> Iterator[frozenset[Meaning]]:
    return (of_names[phrase] for phrase in group if phrase in of_names)
