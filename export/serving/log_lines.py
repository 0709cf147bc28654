"""A log that never makes the server wait: lines for which there is no room are dropped, and counted.

Whoever reads the other end of a pipe may stop; then every thread that writes a line would stand still.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import threading

from absl import logging as absl_logging

_LINES = 10_000


class LogLines:
    """Takes over absl's handler; a thread of its own writes.

    Attributes:
      dropped: lines that nobody will see.
    """

    def __init__(self):
        self.dropped = 0
        self._lines: queue.Queue = queue.Queue(_LINES)
        writer, logger = absl_logging.get_absl_handler(), logging.getLogger()
        handler = _Dropping(self._lines, self)
        handler.filters = writer.filters
        logger.removeHandler(writer)
        logger.addHandler(handler)
        self._thread = threading.Thread(target=self._write, args=[writer], daemon=True)
        self._thread.start()

    def close(self, seconds: float = 2.0) -> bool:
        """Writes what waits; False if that could not be done within so many seconds."""
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            return False
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _write(self, writer: logging.Handler) -> None:
        for record in iter(self._lines.get, None):
            writer.handle(record)


class _Dropping(logging.handlers.QueueHandler):
    def __init__(self, lines: queue.Queue, counts: LogLines):
        super().__init__(lines)
        self._counts = counts

    def enqueue(self, record):
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._counts.dropped += 1
