"""Runs calls, several as one batch when they wait for each other, and lets everybody have a turn.

A worker that becomes free takes the next call of the peer whose turn it is, and of the others what fits to it: nobody
waits for a batch to fill, batches grow with the load by themselves, and who asks much waits behind who asks little.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Sequence

import numpy as np
from absl import logging

from export.serving import call as call_lib
from export.serving.call import Call
from export.serving.limits import Limits
from export.serving.monitoring import Monitoring
from export.serving.status import Status
from export.serving.turns import Turns


@dataclasses.dataclass(frozen=True)
class Result:
    """Outputs by name, and how long they took: until their turn came, and then to run."""

    outputs: dict[str, np.ndarray]
    queue_seconds: float
    run_seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    call: Call
    peer: str
    row: int  # Of its request, at which the call begins.
    deadline: float
    answer: concurrent.futures.Future
    since: float = dataclasses.field(default_factory=time.monotonic)


class Batcher:
    """The calls that wait, and the threads that run them.

    Args:
      limits: how large a batch gets, and how much runs at the same time.
      monitoring: what it tells about batches.
      workers: batches that run at a time.
      batching: whether calls share batches at all.
    """

    def __init__(self, limits: Limits, monitoring: Monitoring, workers: int, batching: bool = True):
        self._limits, self._monitoring, self._batching = limits, monitoring, batching
        self._turns: Turns[_Job] = Turns()
        self._changed = threading.Condition()
        self._closed, self._load = False, 0.0
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, call: Call, peer: str = "", row: int = 0, deadline: float = float("inf")
    ) -> concurrent.futures.Future:
        """A `Result`, some day, or a `Status`.

        Args:
          call: a piece of a request.
          peer: who asks.
          row: of the request, at which the piece begins.
          deadline: `time.monotonic` from which on nobody waits for it.
        """
        job = _Job(call, peer, row, deadline, concurrent.futures.Future())
        with self._changed:
            self._turns.add(peer, job, call.cost)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Answers what waits, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        """Runs the next batch, and then holds on to nothing of it; False: there will be none."""
        jobs = self._take()
        if not jobs:
            return False
        load = self._load_of(jobs)
        try:
            jobs = [job for job in jobs if _still_wanted(job)]
            if jobs:
                self._answer(jobs)
        finally:
            with self._changed:
                self._load -= load
                self._changed.notify_all()
        return True

    def _take(self) -> list[_Job]:
        """The next batch; waits for one. Empty: there will be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_room() or (self._closed and not self._turns))
            if not self._turns:
                return []
            batch = [self._turns.pop(self._turns.first()[0])]
            if self._batching:
                self._fill(batch)
            self._load += self._load_of(batch)
            return batch

    def _has_room(self) -> bool:
        """Whether the next call may run beside what runs."""
        if not self._turns:
            return False
        _, job = self._turns.first()
        return self._load < 1e-9 or self._load + self._load_of([job]) <= 1

    def _fill(self, batch: list[_Job]) -> None:
        """Adds what fits, one call of each peer in turn."""
        size = 0
        while size < len(batch):
            size = len(batch)
            for peer, job in list(self._turns.heads()):
                if self._fits(batch, job):
                    batch.append(self._turns.pop(peer))

    def _fits(self, batch: Sequence[_Job], job: _Job) -> bool:
        calls = [other.call for other in batch]
        images = job.call.images + sum(call.images for call in calls)
        queries = max(job.call.queries, *(call.queries for call in calls), 0)
        return (
            images <= self._limits.together(bool(job.call.pixels))
            and images * queries <= self._limits.queries
            and self._load + self._load_of([*batch, job]) <= 1
            and job.call.goes_with(calls[0])
        )

    def _load_of(self, jobs: Sequence[_Job]) -> float:
        """Share of what may be in memory of all that runs: pixels that are decoded, or bytes that are copied."""
        pixels = sum(sum(job.call.pixels) for job in jobs)
        return max(pixels / self._limits.pixels, sum(job.call.file_bytes for job in jobs) / self._limits.message_bytes)

    def _answer(self, jobs: list[_Job]) -> None:
        start = time.monotonic()
        try:
            results = call_lib.run([job.call for job in jobs])
        except Status as error:
            self._answer_without_culprit(jobs, error)
            return
        except Exception as error:
            # A fault of the server must not end the thread that answers the next request.
            logging.exception("%s: %s", jobs[0].call.signature, error)
            for job in jobs:
                job.answer.set_exception(Status("INTERNAL", f"{type(error).__name__}: {error}"))
            return
        seconds = time.monotonic() - start
        self._monitoring.run_seconds.observe(seconds)
        self._monitoring.batch_images.observe(sum(job.call.images for job in jobs))
        for job, outputs in zip(jobs, results):
            self._monitoring.queue_seconds.observe(start - job.since)
            job.answer.set_result(Result(outputs, start - job.since, seconds))

    def _answer_without_culprit(self, jobs: list[_Job], error: Status) -> None:
        """One request's fault is not the others': they run again, together if the message tells whose it is."""
        row = call_lib.row_of(error.message)
        if len(jobs) == 1:
            job = jobs[0]
            message = error.message if row is None else call_lib.with_row(error.message, row + job.row)
            job.answer.set_exception(Status(error.code, message))
            return
        starts = np.cumsum([0, *(job.call.images for job in jobs)])
        if row is None or row >= starts[-1]:
            for job in jobs:
                self._answer([job])
            return
        culprit = int(np.searchsorted(starts, row, side="right")) - 1
        within = row - int(starts[culprit])
        self._answer_without_culprit([jobs[culprit]], Status(error.code, call_lib.with_row(error.message, within)))
        self._answer([job for k, job in enumerate(jobs) if k != culprit])


def _still_wanted(job: _Job) -> bool:
    if not job.answer.set_running_or_notify_cancel():
        return False
    if time.monotonic() > job.deadline:
        job.answer.set_exception(Status("DEADLINE_EXCEEDED", "the deadline passed before the request's turn came"))
        return False
    return True
