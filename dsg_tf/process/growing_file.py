"""A file of lines that grows under another name until it is whole; what a killed process left of it is gone on with."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import BinaryIO


@dataclasses.dataclass(frozen=True)
class GrowingFile:
    """Takes lines at its end.

    Attributes:
      num_lines: how many it had when it was opened.
    """

    num_lines: int
    _file: BinaryIO

    def append(self, lines: Iterable[str]) -> None:
        """Adds a group of lines, each without its line feed; they are on the disk when this returns."""
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())


@contextlib.contextmanager
def growing(path: str, group: int) -> Iterator[GrowingFile]:
    """Opens `path`, or what there is of it, at its end; it has its name when the block ends well.

    One process at a time is in the block. Another, as where Beam has lost sight of the first, waits and then finds the
    file as the first left it: whole, or to be gone on with.

    Args:
      path: has as many lines as the caller knows to be all.
      group: only multiples of so many lines are kept of a file that is not whole, so that the caller goes on with the
        groups of a process that was not killed.

    Raises:
      OSError: names `path`, also where the disk is full, of which Python does not say for which file.
    """
    unfinished = unfinished_name(path)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    try:
        with open(unfinished, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.exists(path):
                # `file` is it, where this process had to wait, or an empty one that was made just now.
                with contextlib.suppress(FileNotFoundError):
                    os.remove(unfinished)
                yield GrowingFile(num_lines(path), file)
                return
            ends = _whole_lines(file, group)
            file.truncate(ends[-1] if ends else 0)
            yield GrowingFile(len(ends), file)
            os.replace(unfinished, path)
    except OSError as error:
        if error.filename is None:
            raise OSError(f"{path}: {error}") from error
        raise


def unfinished_name(path: str) -> str:
    """What `path` is called until it is whole."""
    return f"{os.path.splitext(path)[0]}.unfinished"


def num_lines(path: str, group: int = 1) -> int:
    """How many lines of a file count, see `growing`; 0 where there is none."""
    try:
        with open(path, "rb") as file:
            return len(_whole_lines(file, group))
    except FileNotFoundError:
        return 0


def _whole_lines(file: BinaryIO, group: int) -> list[int]:
    """Where the lines end: without a half one, and without those of a group that is not full."""
    file.seek(0)
    ends = list(itertools.accumulate(len(line) for line in file if line.endswith(b"\n")))
    return ends[: len(ends) // group * group]
