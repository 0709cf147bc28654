"""Runs a function over pieces of work on the cores of this machine; `beam.py` does the same past one machine.

A piece becomes one file. The function is a module's, so that other processes find it by its name; it writes the file
under another name, renames it, and calls `count_image` on the way.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.sharedctypes import Synchronized
from typing import Protocol, TypeVar

from dsg_tf.process import stopping
from dsg_tf.process.progress import Progress

IMAGES_PER_SHARD = 250

# Workers start as new programs: a copy of a process in which TensorFlow runs can hang.
_SPAWN = multiprocessing.get_context("spawn")
_images_done: Synchronized[int] | None = None  # Shared by all processes of a run.


class Piece(Protocol):
    """A piece of work: `path` is there when it is done, its `len()` is the number of its images."""

    @property
    def path(self) -> str: ...

    def __len__(self) -> int: ...


SomePiece = TypeVar("SomePiece", bound=Piece)


@dataclasses.dataclass(frozen=True)
class Local:
    """This machine. With more than one process, the main module must be importable (`if __name__ == "__main__":`)."""

    processes: int

    def run(self, function: Callable[[SomePiece], None], pieces: Sequence[SomePiece], what: str) -> None:
        """Shows the progress of `what`; an error is raised for the first piece that has one."""
        images_done: Synchronized[int] = _SPAWN.Value("q", 0)
        _count_in(images_done)
        with Progress(what, sum(map(len, pieces)), lambda: images_done.value):
            for _ in _results(function, pieces, min(self.processes, len(pieces)), images_done):
                pass


def count_image() -> None:
    """Tells the progress that one more image is done; on a machine that shows none, nothing."""
    if _images_done is not None:
        with _images_done.get_lock():
            _images_done.value += 1


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def images_of(shard: int, num_shards: int, num_images: int) -> tuple[int, int]:
    """(first, last + 1) of the images in a shard, where all shards are as equal as can be."""
    return shard * num_images // num_shards, (shard + 1) * num_images // num_shards


def _results(
    function: Callable[[SomePiece], None], pieces: Sequence[SomePiece], processes: int, images_done: Synchronized[int]
) -> Iterator[None]:
    if processes <= 1:
        yield from map(function, pieces)
        return
    # Read when a worker imports TensorFlow, which otherwise greets once in each of them.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    executor = concurrent.futures.ProcessPoolExecutor(
        processes, mp_context=_SPAWN, initializer=_start_worker, initargs=(images_done,)
    )
    try:
        yield from executor.map(function, pieces)
    finally:
        executor.shutdown(cancel_futures=True)


def _count_in(images_done: Synchronized[int]) -> None:
    global _images_done
    _images_done = images_done


def _start_worker(images_done: Synchronized[int]) -> None:
    _count_in(images_done)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent ends after whole pieces.
    # Without this, the workers of a killed run would wait for more work for ever.
    stopping.when_parent_ends(lambda: os._exit(1))
