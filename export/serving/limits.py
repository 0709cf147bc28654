"""What one request, and all of them together, may ask of the server."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

from export.serving.status import Status


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds; beyond them a request gets RESOURCE_EXHAUSTED.

    Attributes:
      message_bytes: of a request, unpacked.
      images: of a request; and states of images, for `answer`, that run together.
      batch_images: that run together; larger requests run in pieces.
      queries: of all images of a request, or of a batch, together, padding included.
      pixels: of the pictures of a request, and of those that are decoded at the same time.
      memory_bytes: that all requests in flight may hold.
      json_values: numbers, texts, lists and objects in a JSON body.
      concurrent: requests that wait or run.
      connections: to each of the two interfaces.
      seconds: that a request may take, its arrival included.
    """

    message_bytes: int = 32 * 2**20
    images: int = 16
    batch_images: int = 4
    queries: int = 4096
    pixels: int = 64_000_000
    memory_bytes: int = 512 * 2**20
    json_values: int = 2_000_000
    concurrent: int = 64
    connections: int = 512
    seconds: float = 30.0

    @property
    def of_one_peer(self) -> int:
        """Requests of one connection at a time: the others find a place, too."""
        return max(1, self.concurrent // 2)

    def together(self, has_pictures: bool) -> int:
        """Rows that run together: few where the network looks at pictures, which gains little and takes long."""
        return self.batch_images if has_pictures else self.images

    def check(self, images: int, queries: int) -> None:
        """Raises `Status` for a request that is too large."""
        if images > self.images:
            raise Status("RESOURCE_EXHAUSTED", f"the request has {images} images, more than {self.images}")
        if images * queries > self.queries:
            raise Status(
                "RESOURCE_EXHAUSTED", f"the request has {images} x {queries} queries, more than {self.queries}"
            )

    def check_pixels(self, count: int) -> None:
        """Raises `Status` for pictures that are too large together."""
        if count > self.pixels:
            raise Status(
                "RESOURCE_EXHAUSTED",
                f"the pictures of the request have {count / 1e6:.1f} megapixels, more than {self.pixels / 1e6:g}",
            )

    def check_bytes(self, count: int) -> None:
        """Raises `Status` for a message that is too long."""
        if count > self.message_bytes:
            raise Status("RESOURCE_EXHAUSTED", f"the message has {count} bytes, more than {self.message_bytes}")


class Deadline:
    """When nobody waits for an answer any more, so many seconds from now."""

    _LEAST_TO_SEND = 1.0

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until then."""
        return max(self._end - time.monotonic(), 0.0)

    @property
    def to_send(self) -> float:
        """Seconds in which the answer, or why there is none, has to be read: a few, where it took all its time."""
        return max(self.left, self._LEAST_TO_SEND)


class Slots:
    """Admits so many requests at a time, and refuses the next one at once.

    Args:
      count: how many.
      of_one_peer: how many of the same connection.
    """

    def __init__(self, count: int, of_one_peer: int):
        self._count, self._of_one_peer, self._closed = count, of_one_peer, False
        self._taken: collections.Counter[str] = collections.Counter()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self, peer: str) -> Iterator[None]:
        """The place of a request that has arrived, until it is answered.

        Raises:
          Status: RESOURCE_EXHAUSTED: none is free; UNAVAILABLE: the server is stopping.
        """
        with self._changed:
            if self._closed:
                raise Status("UNAVAILABLE", "the server is stopping")
            if sum(self._taken.values()) >= self._count:
                raise Status("RESOURCE_EXHAUSTED", f"{self._count} requests are already being answered")
            if self._taken[peer] >= self._of_one_peer:
                raise Status(
                    "RESOURCE_EXHAUSTED", f"{self._of_one_peer} requests of this connection are already being answered"
                )
            self._taken[peer] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[peer] -= 1
                if not self._taken[peer]:
                    del self._taken[peer]
                self._changed.notify_all()

    def close(self, seconds: float) -> None:
        """Admits nobody more, and returns when all have left, or after so many seconds."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._taken, seconds)
