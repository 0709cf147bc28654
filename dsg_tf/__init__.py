"""Differentiable Scene Graphs for referring relationships, in TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dsg_tf.api import load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    """`load_model`, when it is asked for: this package itself imports nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dsg_tf import api

    return getattr(api, name)
