"""What a benchmark ran on, under the same keys in every report."""

from __future__ import annotations

import os
import platform
from importlib import metadata


def describe(*packages: str) -> dict[str, object]:
    """The machine and the versions of Python and of `packages`, as fields of a report.

    Args:
      packages: names of installed distributions.

    Returns:
      `cpu` (model name), `cores` (of the machine), `usable_cores` (by this process), `load_average` (of the last
      minute: on a busy machine wall times say little) and `versions` by name.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return models[0] if models else platform.machine()
