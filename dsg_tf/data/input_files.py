"""Files as they were downloaded."""

from __future__ import annotations

import hashlib
import os

from dsg_tf.data.problems import PreparationError


def read_bytes(path: str) -> tuple[bytes, str]:
    """Reads a whole file.

    Returns:
      (its bytes, its name with a hash of them: the same wherever the file lies).

    Raises:
      PreparationError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        raise PreparationError(f"cannot read {path}: {error.strerror}") from error
    return content, f"{os.path.basename(path)} sha256:{hashlib.sha256(content).hexdigest()[:16]}"
