"""SIGTERM and Ctrl-C end a run in good order: a checkpoint, a sentence. The second one ends it at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess

from absl import logging

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# One wish may arrive twice: from the terminal or the batch system, and from a parent process that passes it on.
_SAME_WISH_SECONDS = 1.0

_asked: int | None = None
_postponed = False
_until_agreed = False


class Stopped(BaseException):
    """The process was asked to stop. As with `KeyboardInterrupt`, no handler of errors on the way is meant to take it.

    Args:
      where: how far the run is.
    """

    def __init__(self, where: str = ""):
        super().__init__(f"stopped{where and ' '}{where}; resume with the same command")

    @property
    def exit_code(self) -> int:
        """0 after SIGTERM: what runs the program has what it asked for. 130 after Ctrl-C, as shells expect."""
        return 128 + signal.SIGINT if _asked == signal.SIGINT else 0


def install() -> None:
    """Makes the signals raise `Stopped`. For a program's main thread to call once."""
    wakeups, write_end = os.pipe()
    os.set_blocking(write_end, False)
    # Python runs handlers between two of its own instructions, which TensorFlow can be a long time away from: this
    # pipe tells a thread at once.
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _on_signal)
    threading.Thread(target=_end_at_the_second, args=(wakeups,), daemon=True).start()


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Puts the signals' handlers back where the block replaced them behind Python's back, as TensorFlow does when
    several workers connect: its own handler of SIGTERM would only write a line.
    """
    yield
    for number in SIGNALS:
        signal.signal(number, signal.getsignal(number))  # Python's own table still has ours.


def stop_with_parent() -> None:
    """Asks this process to stop when the one that started it by `multiprocessing` has ended, however it ended."""

    when_parent_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))


def when_parent_ends(act: Callable[[], None]) -> None:
    """Calls `act`, in a thread, when the process that started this one by `multiprocessing` has ended."""

    def wait(parent: BaseProcess):
        parent.join()
        act()

    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=wait, args=(parent,), daemon=True).start()


@contextlib.contextmanager
def postponed(until_agreed: bool = False) -> Iterator[None]:
    """Inside the block `Stopped` is raised by `check` only: for work that must not be cut at any place.

    Args:
      until_agreed: nor by `check`: several processes work in step, and must first agree on where to stop (`asked`).
    """
    global _postponed, _until_agreed
    _postponed, _until_agreed = True, until_agreed
    try:
        yield
    finally:
        _postponed = _until_agreed = False


def asked() -> bool:
    """Whether this process has been asked to stop."""
    return _asked is not None


def check() -> None:
    """A place where it is safe to stop.

    Raises:
      Stopped: the process has been asked to.
    """
    if asked() and not _until_agreed:
        raise Stopped


def _on_signal(number: int, frame) -> None:
    global _asked
    del frame
    if _asked is None:
        _asked = number
        if not _postponed:
            raise Stopped


def _end_at_the_second(wakeups: int) -> None:
    first = None
    while True:
        number = os.read(wakeups, 1)[0]
        if number not in SIGNALS:
            continue
        if first is None:
            first = time.monotonic()
            logging.info("asked to stop: saving first; asked once more, at once")
        elif time.monotonic() - first > _SAME_WISH_SECONDS:
            os._exit(128 + number)
