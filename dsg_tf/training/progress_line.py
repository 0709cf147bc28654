"""The line that tells how far training is, how fast, and when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping


class ProgressLine:
    """Knows the rate between two lines.

    Args:
      batch_size: images a step.
      total_steps: of the training.
      first_step: the last one before it begins.
    """

    def __init__(self, batch_size: int, total_steps: int, first_step: int):
        self._batch_size, self._total = batch_size, total_steps
        self._last_step, self._last_time = first_step, time.monotonic()
        self._rate = 0.0

    def rate(self, step: int) -> float:
        """Images per second since the last call."""
        now = time.monotonic()
        steps = step - self._last_step
        if steps:
            self._rate = steps * self._batch_size / (now - self._last_time)
        self._last_step, self._last_time = step, now
        return self._rate

    def line(self, step: int, scalars: Mapping[str, float]) -> str:
        seconds = (self._total - step) * self._batch_size / self._rate
        terms = " ".join(
            f"{name.split('/')[1]} {value:.3f}"
            for name, value in scalars.items()
            if name.startswith(("loss/", "metric/"))
        )
        left = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.1f} min"
        return f"step {step}/{self._total}  {terms}  {self._rate:.1f} images/s, {left} left"
