"""Writes the tables of the documentation that follow from the code into its pages: python docs/tables.py

A table stands between the lines `<!-- name: ... -->` and `<!-- end -->`; `tests/test_documents.py` holds it up to date.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import pathlib
import re
import textwrap
from collections.abc import Mapping, Sequence

from dsg_tf.config import Config, LossWeights, settings
from dsg_tf.data import problems
from dsg_tf.data.prepare import downloads, sources
from dsg_tf.predict import summary

DOCS = pathlib.Path(__file__).parent
_PLACE = re.compile(r"(<!-- (\w+): [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    for page in sorted(DOCS.glob("**/*.md")):
        text = page.read_text(encoding="utf-8")
        if filled(text) != text:
            page.write_text(filled(text), encoding="utf-8")
            print(f"wrote {page}")


def filled(text: str) -> str:
    """A page with its tables as they should be.

    Raises:
      KeyError: it asks for a table that does not exist.
    """
    return _PLACE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def settings_table() -> str:
    """All settings, in the groups that the comments of `Config` make."""
    fields = {field.name: field for field in dataclasses.fields(Config)}
    parts, rows = [], []
    for line in inspect.getsource(settings.Config).splitlines():
        group = re.fullmatch(r"    # (.*)\.", line)
        name = re.match(r"    (\w+): ", line)
        if group:
            parts.append(f"\n## {group[1]}\n\n| setting | default | what it is |\n|---|---|---|")
        elif name and name[1] in fields:
            rows.append(name[1])
            parts.append(_setting(fields[name[1]]))
    if rows != list(fields):
        raise ValueError("not every setting of Config was found in its source")
    return "\n".join(parts).strip() + "\n"


def _setting(field: dataclasses.Field) -> str:
    choices = [f"`{choice}`" if choice else "none" for choice in field.metadata["choices"]]
    notes = [
        _cell(field.metadata["help"]),
        f"One of {', '.join(choices)}." if choices else "",
        _lower_bound(field.metadata["minimum"]),
        "May change in a run that goes on." if field.metadata.get("may_change") else "",
    ]
    text = " ".join(note if note.endswith((".", "...")) else f"{note}." for note in notes if note)
    return f"| `--{field.name}` | {_default(field.default)} | {text[0].upper()}{text[1:]} |"


def _lower_bound(minimum: float | None) -> str:
    if not minimum:  # Of 0 nobody needs to be told.
        return ""
    return f"At least {minimum:g}." if minimum > 1e-3 else "More than 0."


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, LossWeights):
        return f"`{value}`"
    text = ",".join(f"{item:g}" if isinstance(item, float) else str(item) for item in _as_sequence(value))
    return f"`{text}`" if text else "none"


def _as_sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _kinds(kinds: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {_cell(meaning)} |" for name, meaning in kinds.items()]
    return "\n".join(["| kind | what it means |", "|---|---|", *rows, ""])


def _cell(text: str) -> str:
    """Text for a cell of a table: as it is, whatever Markdown would make of it."""
    return re.sub(r"([|*_<\[])", r"\\\1", text)


def _commands(dataset: str) -> str:
    """The commands that prepare a data set, each on lines that end between its flags."""
    wrap = textwrap.TextWrapper(116, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    commands = downloads.commands_of(dataset, f"data/{dataset}")
    return "\n".join(["```", *(" \\\n".join(wrap.wrap(command)) for command in commands), "```", ""])


TABLES = {
    "settings": settings_table,
    "problems": lambda: _kinds(problems.KINDS),
    "prediction_errors": lambda: _kinds(summary.KINDS),
    **{
        f"commands_{dataset}": functools.partial(_commands, dataset)
        for dataset in sources.SOURCES
        if not dataset.endswith("_small")
    },
}

if __name__ == "__main__":
    main()
