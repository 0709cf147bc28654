"""Errors as sentences for the people who run a program; TensorFlow's, without the names of operations around them."""

from __future__ import annotations

import re
import sys

# A failed check inside a graph, as `tf.debugging.Assert` words it: each value in brackets of its own.
_ASSERTION = re.compile(r"assertion failed: \[(.*?)\](?=\s*(?:\[\[\{\{|\[Op:|$))", re.DOTALL)
# What surrounds the message of an operation: at the end, at the beginning, and of the functions of a `tf.data` set.
_OPERATIONS = re.compile(
    r"\s*\[\[\{\{.*|\s*\[Op:\w*\].*|\{\{.*?\}\} |\AGraph execution error:\s+Detected at node .*?\n\n(?=\S)"
    r"|Error in user-defined function passed to \S+ transformation with iterator: \S+: ",
    re.DOTALL,
)


def is_for_users(error: Exception) -> bool:
    """Whether its message tells a user what to change: bad values, files, numbers that are not finite, and data."""
    return isinstance(error, (ValueError, OSError, FloatingPointError)) or _is_of_tensorflow(error)


def sentence(error: Exception) -> str:
    """The message of an error."""
    return plain(getattr(error, "message", "") if _is_of_tensorflow(error) else str(error))


def plain(message: str) -> str:
    """What a check inside a graph says, from the message that TensorFlow or TF Serving makes of it."""
    found = _ASSERTION.search(message)
    return found.group(1).replace("] [", " ") if found else _OPERATIONS.sub("", message)


def _is_of_tensorflow(error: Exception) -> bool:
    """Without importing TensorFlow, which is slow: where it was not imported, the error is not its."""
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(error, tensorflow.errors.OpError)
