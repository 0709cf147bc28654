"""Forms of English words: plurals of nouns, and what a verb is called in a sentence."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from dsg_tf.words.tokens import Tokens

_PLURALS = {
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "goose": "geese",
    "half": "halves",
    "knife": "knives",
    "leaf": "leaves",
    "life": "lives",
    "loaf": "loaves",
    "mouse": "mice",
    "ox": "oxen",
    "person": "people",
    "scarf": "scarves",
    "sheep": "sheep",
    "shelf": "shelves",
    "tooth": "teeth",
    "wife": "wives",
    "wolf": "wolves",
}
_VOWELS = "aeiou"

# Past and participle where a rule does not make them.
_IRREGULAR = {
    "blow": ("blew", "blown"),
    "build": ("built", "built"),
    "catch": ("caught", "caught"),
    "cut": ("cut", "cut"),
    "draw": ("drew", "drawn"),
    "drink": ("drank", "drunk"),
    "drive": ("drove", "driven"),
    "eat": ("ate", "eaten"),
    "feed": ("fed", "fed"),
    "fly": ("flew", "flown"),
    "grow": ("grew", "grown"),
    "hang": ("hung", "hung"),
    "have": ("had", "had"),
    "hide": ("hid", "hidden"),
    "hit": ("hit", "hit"),
    "hold": ("held", "held"),
    "lay": ("laid", "laid"),
    "lie": ("lay", "lain"),
    "make": ("made", "made"),
    "ride": ("rode", "ridden"),
    "run": ("ran", "run"),
    "see": ("saw", "seen"),
    "shine": ("shone", "shone"),
    "sit": ("sat", "sat"),
    "sleep": ("slept", "slept"),
    "stand": ("stood", "stood"),
    "swim": ("swam", "swum"),
    "swing": ("swung", "swung"),
    "take": ("took", "taken"),
    "throw": ("threw", "thrown"),
    "wear": ("wore", "worn"),
    "write": ("wrote", "written"),
}
_OTHER_FORMS = {"have": {"third": "has"}, "lie": {"ing": "lying"}, "tie": {"ing": "tying"}}
_DOUBLED = frozenset(("chop", "cut", "grab", "hit", "hug", "pet", "run", "sit", "skip", "step", "stop", "swim", "wrap"))
_REGULAR = (
    *("adjoin", "attach", "belong", "board", "brush", "burn", "carry", "chase", "chew", "climb", "clean", "contain"),
    *("cook", "cover", "cross", "decorate", "display", "drag", "dress", "enclose", "enjoy", "enter", "exit", "face"),
    *("fasten", "fill", "float", "follow", "gaze", "graze", "grip", "guard", "guide", "help", "hover", "hug", "jump"),
    *("kick", "kiss", "kneel", "land", "lead", "lean", "lick", "lift", "line", "load", "look", "mount", "move", "open"),
    *(
        "own",
        "paint",
        "park",
        "pass",
        "perch",
        "pet",
        "play",
        "point",
        "pose",
        "pour",
        "print",
        "pull",
        "push",
        "reach",
    ),
    *("reflect", "rest", "roll", "sail", "serve", "show", "skate", "ski", "slice", "smell", "sniff", "stack", "stare"),
    *("step", "stick", "stop", "support", "surf", "surround", "talk", "tie", "touch", "tow", "travel", "turn", "use"),
    *("wait", "walk", "wash", "watch", "wrap", "chop", "grab", "skip"),
)
# What may stand in a passive before what does it.
_BY = {"contain": ("by", "in"), "cover": ("by", "with", "in"), "fill": ("by", "with"), "surround": ("by", "with")}


def plurals(phrase: Tokens) -> Iterator[Tokens]:
    """A noun phrase in the plural, which its last word tells."""
    *first, last = phrase
    for word in _plurals_of(last):
        yield (*first, word)


def _plurals_of(word: str) -> Iterator[str]:
    if word in _PLURALS:
        yield _PLURALS[word]
    elif word.endswith("man") and word not in ("human", "german"):
        yield word[:-3] + "men"
    elif word.endswith(("s", "x", "z", "ch", "sh")):
        yield word + "es"
    elif word.endswith("y") and word[-2:-1] not in tuple(_VOWELS):
        yield word[:-1] + "ies"
    else:
        yield word + "s"
        if word.endswith("o"):
            yield word + "es"


def lemma(word: str) -> str | None:
    """The verb that a word is a form of; None where it is no form of a verb that is known here."""
    return _lemmas().get(word)


def active(relation: Tokens) -> Iterator[Tokens]:
    """A relation that begins with a verb, in all its active forms: "sit on", "sits on", "sitting on", "sat on".

    The participle is among them where more words follow, as in "parked on"; alone it would be a passive.
    """
    verb = lemma(relation[0])
    if verb is not None:
        forms = _forms(verb)
        names = ("base", "third", "ing", "past", *(("participle",) if len(relation) > 1 else ()))
        for name in names:
            yield (forms[name], *relation[1:])


def passive(relation: Tokens) -> Iterator[Tokens]:
    """The passive of a relation that begins with a verb: "ridden by", which exchanges subject and object."""
    verb = lemma(relation[0])
    if verb is not None:
        for word in _BY.get(verb, ("by",)):
            yield (_forms(verb)["participle"], *relation[1:], word)


def without_passive(relation: Tokens) -> Tokens | None:
    """The active relation of a passive, "wear" of "worn by"; None of any other."""
    verb = lemma(relation[0])
    if verb is None or len(relation) < 2 or relation[0] != _forms(verb)["participle"]:
        return None
    return (verb, *relation[1:-1]) if relation[-1] in _BY.get(verb, ("by",)) else None


@functools.lru_cache(maxsize=1)
def _lemmas() -> dict[str, str]:
    # "lay" is a verb of its own before it is the past of "lie".
    result: dict[str, str] = {}
    for verb in (*_REGULAR, *_IRREGULAR):
        for name in ("base", "third", "ing", "past", "participle"):
            if name == "base":
                result[verb] = verb
            else:
                result.setdefault(_forms(verb)[name], verb)
    return result


@functools.cache
def _forms(verb: str) -> dict[str, str]:
    stem = verb + verb[-1] if verb in _DOUBLED else verb
    dropped = verb[:-1] if verb.endswith("e") and not verb.endswith("ee") else stem
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        third, past = verb[:-1] + "ies", verb[:-1] + "ied"
    else:
        third = verb + ("es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
        past = (dropped if verb.endswith("e") else stem) + "ed"
    irregular = _IRREGULAR.get(verb, (past, past))
    found = {"base": verb, "third": third, "ing": dropped + "ing", "past": irregular[0], "participle": irregular[1]}
    return found | _OTHER_FORMS.get(verb, {})
