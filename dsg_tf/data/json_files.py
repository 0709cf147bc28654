"""JSON files, with errors that say where."""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from dsg_tf.data.input_files import read_bytes
from dsg_tf.data.problems import PreparationError

Form = TypeVar("Form", dict, list)
_NAMES = {int: "an integer", str: "a text", list: "an array", dict: "an object"}


def read_json(path: str, form: type[Form], hook: Callable[[dict], object] | None = None) -> tuple[Form, str]:
    """Reads a whole JSON file.

    Args:
      path: the file.
      form: what its outermost value must be, `dict` or `list`.
      hook: what to take in place of each JSON object, the innermost first.

    Returns:
      (the content, the file's name with a hash of its bytes: the same wherever the file lies).

    Raises:
      PreparationError: the file cannot be read, is no valid JSON (with line and column), or has another form.
    """
    try:
        encoded, file_print = read_bytes(path)
        with _no_collection():
            content = json.loads(encoded, object_hook=hook)
    except json.JSONDecodeError as error:
        raise PreparationError(
            f"{path} is not valid JSON, perhaps cut short: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except UnicodeDecodeError as error:
        raise PreparationError(f"{path} is not text in UTF-8: {error}") from error
    if not isinstance(content, form):
        raise PreparationError(
            f"{path} must hold a JSON {'object' if form is dict else 'array'}, it holds a {type(content).__name__}"
        )
    return content, file_print


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look at millions of new objects again and again: half the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def rows_of(path: str, content: dict, name: str, fields: dict[str, type]) -> list[dict]:
    """The list of objects that a JSON file holds under a name.

    Args:
      path: the file, for messages.
      content: of the file.
      name: of the list.
      fields: what each object must have, and of which type.

    Raises:
      PreparationError: there is no such list, or an object of it lacks a field; names it.
    """
    rows = content.get(name)
    if not isinstance(rows, list):
        raise PreparationError(f'{path} must hold a list under "{name}"')
    for position, row in enumerate(rows):
        check_fields(f"{path}: {name} {position}", row, fields)
    return rows


def check_fields(where: str, row: object, fields: dict[str, type]) -> None:
    """Raises a `PreparationError` unless `row` is an object with these fields of these types; True is no integer."""
    for field, kind in fields.items():
        value = row.get(field) if isinstance(row, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise PreparationError(f'{where} has no "{field}" that is {_NAMES[kind]}')
