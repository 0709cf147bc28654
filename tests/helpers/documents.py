"""The pages of the documentation, and every command line that they tell people to type."""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
import re
import shlex
from collections.abc import Iterator

import notebook_cells
from paths import ROOT

PROGRAMS = ("python", "pip", "pytest", "mkdocs", "ruff", "mypy", "tensorboard", "jupyter")
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*=")


def pages() -> list[str]:
    """The Markdown pages that tell how to use and change the program, relative to the checkout."""
    return ["README.md", "CONTRIBUTING.md", "export/tf_serving/README.md", *_files("docs/**/*.md")]


def configurations() -> list[str]:
    return _files("configs/*.flags")


def _files(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in pathlib.Path(ROOT).glob(pattern))


def read(page: str) -> str:
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def fenced_blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of each block of code."""
    return _FENCED.findall(read(page))


def inline_code(page: str) -> list[str]:
    """What stands in backticks, each on one line."""
    return [" ".join(code.split()) for code in _INLINE.findall(_FENCED.sub("", read(page)))]


@dataclasses.dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
      variables: of the environment, "NAME=value", that stand before it.
      words: the program and its arguments.
    """

    variables: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Command:
        (command,) = _split(text)
        return command

    def __str__(self) -> str:
        return shlex.join((*self.variables, *self.words))

    @property
    def program(self) -> str:
        """The script, the module or the tool."""
        if self.words[0] != "python":
            return self.words[0]
        return self.words[2] if self.words[1] == "-m" else self.words[1]

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.words[1 + self.words.index(self.program) :]


def of_page(page: str) -> Iterator[Command]:
    """The command lines of a page; a program's name alone, inside a sentence, is none: see `names_in`."""
    for language, block in fenced_blocks(page):
        if language in ("", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from _split(line)
    for code in inline_code(page):
        yield from (command for command in _split(code) if command.arguments)


def names_in(page: str) -> Iterator[Command]:
    """Programs that a page names without arguments."""
    for code in inline_code(page):
        yield from (command for command in _split(code) if not command.arguments)


def of_configuration(path: str) -> Iterator[Command]:
    """The command in the comment at the top of a flag file."""
    for found in re.finditer(r"^# Command:\s+(.+?)(?:  .*)?$", read(path), re.MULTILINE):
        yield from _split(found[1])


def all_commands() -> dict[Command, str]:
    """Every command line of the documentation, and the first page that has it."""
    found: dict[Command, str] = {}
    for page in pages():
        for command in of_page(page):
            found.setdefault(command, page)
    for path in configurations():
        for command in of_configuration(path):
            found.setdefault(command, path)
    for text in notebook_cells.commands():
        found.setdefault(Command.parse(text), notebook_cells.NOTEBOOK)
    return found


def _split(line: str) -> Iterator[Command]:
    """The commands of a line, without its comment; what no program of `PROGRAMS` or of ours begins is left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split, lexer.commenters = True, "#"
    try:
        words = list(lexer)
    except ValueError:  # A quote without its partner: a text, not a command.
        return
    for is_separator, group in itertools.groupby(words, lambda word: set(word) <= set("&|;")):
        if not is_separator:
            group = list(group)
            start = next((i for i, word in enumerate(group) if not _VARIABLE.match(word)), len(group))
            words_of = tuple(group[start:])
            if words_of and (words_of[0] in PROGRAMS or words_of[0].startswith("dsg-")) and words_of != ("python",):
                yield Command(tuple(group[:start]), words_of)
