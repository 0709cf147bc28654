"""Files that are there whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def atomic(path: str) -> Iterator[str]:
    """Yields a temporary name beside ``path``; renames it to ``path`` when the block ends well, else removes it."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    stem, extension = os.path.splitext(path)
    # Two machines may write the same file at once. The extension is kept: Pillow chooses the format by it.
    temporary = f"{stem}.tmp{uuid.uuid4().hex[:12]}{extension}"
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_text(path: str, text: str) -> None:
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")
