"""Text to words: what upper case, punctuation and articles do not change."""

from __future__ import annotations

import re
import unicodedata

Tokens = tuple[str, ...]

ARTICLES = frozenset(("a", "an", "the"))
_WORD = re.compile(r"[^\W_]+|'s(?!\w)")
_SEPARATOR = re.compile(r"\s*(?:[,;|→]|-+>|=+>)\s*")


def tokens(text: str) -> Tokens:
    """The words of a text or of a name, in lower case and without articles; "'s" is a word of its own.

    A text of articles alone keeps them: it may be a name.
    """
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    words = tuple(_WORD.findall(text))
    return tuple(word for word in words if word not in ARTICLES) or words


def parts(text: str) -> tuple[str, ...]:
    """What stands between commas, semicolons, bars or arrows, where it has words."""
    return tuple(part for part in _SEPARATOR.split(text) if tokens(part))


def begins(words: Tokens, phrase: Tokens) -> bool:
    return words[: len(phrase)] == phrase


def ends(words: Tokens, phrase: Tokens) -> bool:
    return len(phrase) <= len(words) and words[len(words) - len(phrase) :] == phrase


def phrases(*texts: str) -> tuple[Tokens, ...]:
    """Texts to tokens, each once, the longest first."""
    return tuple(sorted(dict.fromkeys(map(tokens, texts)), key=len, reverse=True))
