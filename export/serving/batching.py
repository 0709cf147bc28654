"""Runs calls, several as one batch when they wait for each other.

A worker that becomes free takes the oldest call and all that fit to it: nobody waits for a batch to fill, and batches
grow with the load by themselves.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import threading
import time

import numpy as np
from absl import logging

from export.serving.limits import Limits
from export.serving.servable import Call
from export.serving.status import Status


@dataclasses.dataclass(frozen=True, eq=False)
class _Job:
    call: Call
    deadline: float
    answer: concurrent.futures.Future


class Batcher:
    """A queue of calls and the threads that run them.

    Args:
      limits: how large a batch gets.
      workers: batches that run at a time.
      batching: whether calls share batches at all.
      observe: called with the images of each batch that ran.
    """

    def __init__(self, limits: Limits, workers: int, batching: bool = True, observe=lambda images: None):
        self._limits, self._batching, self._observe = limits, batching, observe
        self._jobs: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Call, deadline: float = float("inf")) -> concurrent.futures.Future:
        """Outputs by name, some day, or a `Status`; what waits beyond `deadline` (`time.monotonic`) is dropped."""
        job = _Job(call, deadline, concurrent.futures.Future())
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def close(self) -> None:
        """Answers what waits, then ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self):
        while jobs := self._take():
            jobs = [job for job in jobs if _still_wanted(job)]
            if jobs:
                self._answer(jobs)

    def _take(self) -> list[_Job]:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if not self._jobs:
                return []
            batch = [self._jobs.popleft()]
            if self._batching and _is_even(batch[0].call):
                for job in list(self._jobs):
                    if self._goes_with(batch, job):
                        batch.append(job)
                        self._jobs.remove(job)
            return batch

    def _goes_with(self, batch: list[_Job], job: _Job) -> bool:
        first, call = batch[0].call, job.call
        return (
            call.servable is first.servable
            and call.signature == first.signature
            and call.outputs == first.outputs
            and _is_even(call)
            and self._limits.fits(
                call.images + sum(other.call.images for other in batch),
                max(call.queries, *(other.call.queries for other in batch)),
            )
        )

    def _answer(self, jobs: list[_Job]):
        try:
            for job, result in zip(jobs, run([job.call for job in jobs])):
                job.answer.set_result(result)
            self._observe(sum(job.call.images for job in jobs))
        except Status as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
            else:  # One request's fault is not the others'.
                for job in jobs:
                    self._answer([job])
        except Exception as error:
            # A fault of the server must not end the thread that answers the next request.
            logging.exception("%s: %s", jobs[0].call.signature, error)
            for job in jobs:
                job.answer.set_exception(Status("INTERNAL", f"{type(error).__name__}: {error}"))


def run(calls: list[Call]) -> list[dict[str, np.ndarray]]:
    """Runs calls of one signature as one batch: queries are padded to the most, and cut again."""
    if len(calls) == 1:
        return [calls[0].servable.run(calls[0])]
    first, queries = calls[0], max(call.queries for call in calls)
    ragged = first.servable.ragged_inputs[first.signature]
    inputs = {
        name: np.concatenate(
            [_padded(call.inputs[name], queries) if name in ragged else call.inputs[name] for call in calls]
        )
        for name in first.inputs
    }
    outputs = first.servable.run(dataclasses.replace(first, inputs=inputs))
    results, start = [], 0
    for call in calls:
        stop = start + call.images
        results.append(
            {
                name: value[start:stop, : call.queries]
                if name in first.servable.ragged_outputs[call.signature]
                else value[start:stop]
                for name, value in outputs.items()
            }
        )
        start = stop
    return results


def _padded(value: np.ndarray, queries: int) -> np.ndarray:
    """Words to empty ones, ids to class 0: what comes of them is cut off."""
    widths = [(0, 0), (0, queries - value.shape[1])] + [(0, 0)] * (value.ndim - 2)
    return np.pad(value, widths, constant_values=b"" if value.dtype == object else 0)


def _is_even(call: Call) -> bool:
    """Whether its inputs agree on images and queries; what does not runs alone, for the graph to say what is wrong."""
    return (
        len({len(value) for value in call.inputs.values()}) == 1
        and len({call.inputs[name].shape[1] for name in call.servable.ragged_inputs[call.signature]}) <= 1
    )


def _still_wanted(job: _Job) -> bool:
    if not job.answer.set_running_or_notify_cancel():
        return False
    if time.monotonic() > job.deadline:
        job.answer.set_exception(Status("DEADLINE_EXCEEDED", "the deadline passed before the request's turn came"))
        return False
    return True
