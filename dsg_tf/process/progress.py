"""A line on stderr that says how far a long count has come."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable


class Progress:
    """Shows `done() of total`, the rate and the time left while its `with` block runs.

    On a terminal the line is rewritten every second, elsewhere a line is added every ten seconds.
    """

    def __init__(self, what: str, total: int, done: Callable[[], int]):
        self._what, self._total, self._done = what, total, done
        self._on_terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show, daemon=True)

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self._thread.join()
        self._print(last=True)

    def _show(self) -> None:
        while not self._ended.wait(1 if self._on_terminal else 10):
            self._print(last=False)

    def _print(self, last: bool) -> None:
        done, seconds = self._done(), time.monotonic() - self._start
        rate = done / seconds
        line = f"{self._what}: {done} of {self._total}, {rate:.1f}/s"
        if last:
            line += f", {seconds:.0f} s"
        elif done:
            line += f", {(self._total - done) / rate:.0f} s left"
        if self._on_terminal:
            print(f"\r{line:<78}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)
