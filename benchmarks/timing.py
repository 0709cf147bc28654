"""Wall times that bear comparison: all calls take turns, so that a busy spell of the machine hits them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import tensorflow as tf

WARM_UP = 2  # Calls that trace, compile and allocate.


def in_turns(calls: Mapping[str, Callable[[], object]], seconds: float, min_rounds: int = 5) -> dict[str, list[float]]:
    """Times calls in rounds; each round makes every call once and waits for the devices.

    Args:
      calls: what to time, by name.
      seconds: rounds begin until so much time is over.
      min_rounds: and at least so many.

    Returns:
      Milliseconds of each round, by name.
    """
    for call in calls.values():
        for _ in range(WARM_UP):
            _timed(call)
    times: dict[str, list[float]] = {name: [] for name in calls}
    start, rounds = time.monotonic(), 0
    while rounds < min_rounds or time.monotonic() - start < seconds:
        for name, call in calls.items():
            times[name].append(_timed(call))
        rounds += 1
    return times


def _timed(call) -> float:
    tf.test.experimental.sync_devices()
    start = time.perf_counter()
    call()
    tf.test.experimental.sync_devices()
    return 1000 * (time.perf_counter() - start)


def ratio(times: Mapping[str, list[float]], slow: str, fast: str) -> float:
    """How many times as long one call takes as another: the median over the rounds."""
    return round(statistics.median(a / b for a, b in zip(times[slow], times[fast])), 3)


def report(times: Mapping[str, list[float]]) -> dict[str, dict[str, object]]:
    """Medians and single times, as fields of a report."""
    return {
        "median_ms": {name: round(statistics.median(values), 3) for name, values in times.items()},
        "raw_ms": {name: [round(value, 3) for value in values] for name, values in times.items()},
    }
