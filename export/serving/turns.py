"""Whose turn it is: fair queueing by cost.

Start-time fair queueing (Goyal, Vin and Cheng 1996). Every peer gets the same share of the work, whatever it asks and
however often: who asks little goes before what others have piled up, and waits for one piece of theirs at most.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Generic, TypeVar

_Job = TypeVar("_Job")


class Turns(Generic[_Job]):
    """Jobs of peers, each with what it costs, in units of any kind."""

    def __init__(self):
        self._jobs: dict[str, collections.deque[tuple[float, float, _Job]]] = {}
        self._ends: dict[str, float] = {}  # Of what each peer has asked, in virtual time.
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, peer: str, job: _Job, cost: float) -> None:
        """Another job of a peer."""
        start = max(self._now, self._ends.get(peer, 0.0))
        self._ends[peer] = start + cost
        self._jobs.setdefault(peer, collections.deque()).append((start + cost, start, job))

    def heads(self) -> Iterator[tuple[str, _Job]]:
        """The next job of each peer, in the order of their turns."""
        for peer, jobs in sorted(self._jobs.items(), key=lambda item: item[1][0][0]):
            yield peer, jobs[0][2]

    def first(self) -> tuple[str, _Job]:
        """The peer whose turn it is, and its next job."""
        return next(self.heads())

    def pop(self, peer: str) -> _Job:
        """Takes the next job of a peer."""
        _, start, job = self._jobs[peer].popleft()
        self._now = max(self._now, start)
        if not self._jobs[peer]:
            del self._jobs[peer]
            # Only ends in the future tell anything: the others begin at the present time anyway.
            self._ends = {name: end for name, end in self._ends.items() if end > self._now}
        return job
