"""Files that are there whole or not at all, written under a temporary name and renamed; directories held by one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import uuid
from collections.abc import Iterator
from typing import Any

LOCK = "lock"
_LARGEST_VERSION = 2**63 - 1


@contextlib.contextmanager
def atomic(path: str) -> Iterator[str]:
    """Yields a temporary name beside `path`; renames it to `path` when the block ends well, else removes it.

    Raises:
      OSError: names `path`, also where the disk is full, of which Python does not say for which file.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    stem, extension = os.path.splitext(path)
    # Two machines may write the same file at once. The extension is kept: Pillow chooses the format by it.
    temporary = f"{stem}.tmp{uuid.uuid4().hex[:12]}{extension}"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:
            raise OSError(f"{path}: {error}") from error
        raise
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def write_text(path: str, text: str) -> None:
    with atomic(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(text)


def write_json(path: str, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


@contextlib.contextmanager
def held(directory: str, lock: str = LOCK) -> Iterator[None]:
    """Keeps other processes from holding `directory` inside the block; makes it where it is not there.

    The lock is the kernel's: it ends with the process, however that ends. The file `lock` stays and tells who was last.

    Args:
      directory: what is held.
      lock: name of the file; those who hold by another name may do so at once.

    Raises:
      ValueError: another process holds it; names the process and its machine.
      OSError: the directory cannot be made or written to.
    """
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, lock)
    with open(path, "a+b", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(f"{directory} is in use by {file.read().decode() or 'another process'}") from error
        except OSError as error:  # The disk is full, or the file system has no locks.
            raise OSError(f"{path}: {error}") from error
        yield


def is_version(name: str) -> bool:
    """Whether a directory's name is that of a version, as TF Serving reads it: a number, zeros before it included."""
    return name.isascii() and name.isdecimal() and int(name) <= _LARGEST_VERSION
