"""How the programs end: with a sentence where the user can do something about it; --debug shows the stack trace."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator

import tensorflow as tf

from dsg_tf import stopping, training


@contextlib.contextmanager
def sentences(program: str, debug: bool) -> Iterator[None]:
    """Runs a program's work; ends the process on an error, or where a stop was asked for.

    Args:
      program: begins the sentence.
      debug: let errors through.
    """
    try:
        yield
    except stopping.Stopped as stopped:
        print(f"{program}: {stopped}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except (ValueError, OSError, training.NonFiniteError, tf.errors.OpError) as error:
        if debug:
            raise
        sys.exit(f"{program}: {sentence(error)}")


def sentence(error: Exception) -> str:
    """The message of an error; of TensorFlow's, without the names of operations around it."""
    message = getattr(error, "message", str(error))
    return re.sub(r"\{\{.*?\}\} |\s*\[\[\{\{.*|\s*\[Op:\w*\].*", "", message, flags=re.DOTALL)
