"""One account of the memory that requests hold: taken before it is filled, given back when the answer is out.

A message that still arrives holds as much as it may become. So those who send slowly, or nothing, could keep all the
others out. When memory is short, those that have taken longest to arrive have to go; who asked last is served first,
since the ones that have been waiting are mostly not worth it; and half of the memory is kept for peers that have had an
answer before. All of it happens in one event loop.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from export.serving.status import Status

_Result = TypeVar("_Result")
_KNOWN_PEERS = 4096


class Place:
    """The bytes that one request holds; `Budget.place` gives it.

    Attributes:
      size: bytes.
      peer: who asks.
      is_strange: whether it is of a peer that never had an answer, and has not arrived yet.
      since: when it began to arrive.
      lost: set when it has to go.
    """

    def __init__(self, budget: Budget, size: int, peer: str):
        self._budget, self.size, self.peer = budget, size, peer
        self.is_strange = peer not in budget.known
        self.since = 0.0
        self.lost: asyncio.Future | None = None

    def resize(self, size: int) -> None:
        """Holds so many bytes from now on.

        Raises:
          Status: RESOURCE_EXHAUSTED: there are not so many more.
        """
        if size > self.size and not self._budget.has_room(size - self.size, is_strange=False):
            raise _no_memory()
        self._budget.count(self, -1)
        self.size = size
        self._budget.count(self, 1)
        self._budget.serve()

    async def receive(self, message: Coroutine[Any, Any, _Result], seconds: float) -> _Result:
        """What arrives; the place can be lost until then.

        Raises:
          Status: DEADLINE_EXCEEDED: it took too long; RESOURCE_EXHAUSTED: others need the memory.
        """
        loop = asyncio.get_running_loop()
        self.lost, self.since = loop.create_future(), loop.time()
        arriving = loop.create_task(message)
        self._budget.receiving[self] = None
        try:
            await asyncio.wait({arriving, self.lost}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if arriving.done():
                return arriving.result()
            took = f"the request did not arrive within {loop.time() - self.since:.1f} s"
            if self.lost.done():
                raise Status("RESOURCE_EXHAUSTED", f"{took}, and others need its memory")
            raise Status("DEADLINE_EXCEEDED", took)
        finally:
            del self._budget.receiving[self]
            self._budget.count(self, -1)
            self.is_strange = False
            self._budget.count(self, 1)
            self._budget.serve()
            arriving.cancel()
            # Nobody is left to be told how it ends. Its error knows this frame: forgotten, or both would stay for long.
            arriving.add_done_callback(lambda task: task.cancelled() or task.exception())
            del arriving

    def answered(self) -> None:
        """Remembers the peer as one that does not only send."""
        self._budget.known[self.peer] = None
        while len(self._budget.known) > _KNOWN_PEERS:
            self._budget.known.popitem(last=False)


class Budget:
    """So many bytes for all requests.

    Args:
      capacity: bytes.
      grace: seconds to arrive in that everybody has.

    Attributes:
      capacity: bytes.
      reserved: bytes that are held now.
      receiving: the places of what still arrives, the oldest first.
      known: peers that have had an answer, the oldest first.
    """

    def __init__(self, capacity: int, grace: float = 1.0):
        self.capacity, self.reserved, self._of_strangers, self._grace = capacity, 0, 0, grace
        self.receiving: dict[Place, None] = {}
        self.known: collections.OrderedDict[str, None] = collections.OrderedDict()
        self._waiting: list[tuple[Place, asyncio.Future]] = []
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def place(self, size: int, seconds: float, peer: str) -> AsyncIterator[Place]:
        """Holds `size` bytes; waits for them for so many seconds.

        Raises:
          Status: RESOURCE_EXHAUSTED: they did not become free.
        """
        place = Place(self, min(size, self.capacity), peer)
        if self.has_room(place.size, place.is_strange):
            self.count(place, 1)
        else:
            await self._wait(place, seconds)
        try:
            yield place
        finally:
            place.resize(0)

    def has_room(self, size: int, is_strange: bool) -> bool:
        """Whether so many bytes are free; for those whom nobody knows, half of them are not."""
        if is_strange and self._of_strangers and self._of_strangers + size > self.capacity // 2:
            return False
        return self.reserved + size <= self.capacity

    def count(self, place: Place, times: int) -> None:
        """Adds a place to what is held, or takes it away (-1)."""
        self.reserved += times * place.size
        if place.is_strange:
            self._of_strangers += times * place.size

    async def _wait(self, place: Place, seconds: float) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((place, turn))
        self.serve()
        try:
            await asyncio.wait({turn}, timeout=seconds)
        except asyncio.CancelledError:
            if turn.done():
                self.count(place, -1)
            raise
        finally:
            self._waiting = [entry for entry in self._waiting if entry[0] is not place]
        if not turn.done():
            raise _no_memory()

    def serve(self) -> None:
        """Gives what is free, first to those who came last; where that is not enough, tells slow senders to go."""
        for entry in reversed(self._waiting):
            place, turn = entry
            if not turn.done() and self.has_room(place.size, place.is_strange):
                self.count(place, 1)
                turn.set_result(None)
        waiting = [place for place, turn in self._waiting if not turn.done()]
        if waiting and self.receiving:
            self._make_room(waiting[-1])

    def _make_room(self, place: Place) -> None:
        loop = asyncio.get_running_loop()
        missing = self.reserved + place.size - self.capacity
        if place.is_strange:
            missing = max(missing, self._of_strangers + place.size - self.capacity // 2)
        # Strangers go first: the sort keeps the oldest at the front otherwise.
        for other in sorted(self.receiving, key=lambda other: not other.is_strange):
            if missing <= 0:
                return
            assert other.lost is not None
            if not other.lost.done() and loop.time() - other.since >= self._grace:
                other.lost.set_result(None)
            if other.lost.done():
                missing -= other.size
        if missing > 0:
            if self._timer is not None:
                self._timer.cancel()
            soonest = min(other.since for other in self.receiving) + self._grace
            self._timer = loop.call_at(max(soonest, loop.time() + self._grace / 10), self.serve)


def _no_memory() -> Status:
    return Status("RESOURCE_EXHAUSTED", "the server has no memory left for more requests at this time")
