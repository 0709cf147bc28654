"""The analyses of `eval.py --analyses` by name; apart from their code, so that flags are read without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

ALL = ("errors", "scene_graphs", "attention", "oracles", "cost")


def check(names: Sequence[str]) -> None:
    """Raises ValueError for a name that is none of `ALL`."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise ValueError(f"--analyses={','.join(names)}: known are {', '.join(ALL)}")
