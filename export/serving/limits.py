"""What one request, and all of them together, may ask of the server."""

from __future__ import annotations

import contextlib
import dataclasses
import threading

from export.serving.status import Status


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds; beyond them a request gets RESOURCE_EXHAUSTED.

    Attributes:
      message_bytes: of a request.
      images: of a request, or of the requests that run as one batch.
      queries: of all images together, padding included.
      concurrent: requests that are being received, waiting or running.
    """

    message_bytes: int = 64 * 2**20
    images: int = 16
    queries: int = 4096
    concurrent: int = 64

    def fits(self, images: int, queries: int) -> bool:
        """Whether so many images with so many queries each may run as one batch."""
        return images <= self.images and images * queries <= self.queries

    def check(self, images: int, queries: int) -> None:
        """Raises `Status` for a request that is too large."""
        if images > self.images:
            raise Status("RESOURCE_EXHAUSTED", f"the request has {images} images, more than {self.images}")
        if not self.fits(images, queries):
            raise Status(
                "RESOURCE_EXHAUSTED", f"the request has {images} x {queries} queries, more than {self.queries}"
            )

    def check_bytes(self, count: int) -> None:
        """Raises `Status` for a message that is too long."""
        if count > self.message_bytes:
            raise Status("RESOURCE_EXHAUSTED", f"the message has {count} bytes, more than {self.message_bytes}")


class Slots:
    """Admits so many requests at a time, and refuses the next one at once.

    Args:
      count: how many.
      on_refusal: called with the code.
    """

    def __init__(self, count: int, on_refusal=lambda code: None):
        self._count, self._taken, self._closed, self._on_refusal = count, 0, False, on_refusal
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self):
        """A request's place, from its arrival to its answer."""
        with self._changed:
            refusal = None
            if self._closed:
                refusal = Status("UNAVAILABLE", "the server is stopping")
            elif self._taken == self._count:
                refusal = Status("RESOURCE_EXHAUSTED", f"{self._count} requests are already being answered")
            else:
                self._taken += 1
        if refusal:
            self._on_refusal(refusal.code)
            raise refusal
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Admits nobody more, and returns when all have left, or after so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._taken, seconds)
