"""JSON files, with errors that say where."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TypeVar

from dsg_tf.data.problems import PreparationError

Form = TypeVar("Form", dict, list)


def read_json(path: str, form: type[Form]) -> tuple[Form, str]:
    """Reads a whole JSON file.

    Args:
      path: the file.
      form: what its outermost value must be, `dict` or `list`.

    Returns:
      (the content, the file's name with a hash of its bytes: the same wherever the file lies).

    Raises:
      PreparationError: the file cannot be read, is no valid JSON (with line and column), or has another form.
    """
    try:
        with open(path, "rb") as file:
            encoded = file.read()
        content = json.loads(encoded)
    except OSError as error:
        raise PreparationError(f"cannot read {path}: {error.strerror}") from error
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
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return content, f"{os.path.basename(path)} sha256:{digest}"
