"""tensorflow-addons, an extra: GIoU loss, LAMB and Lookahead optimizers."""

from __future__ import annotations

import importlib.util


def load(flag: str):
    """Returns the module ``tensorflow_addons``.

    Raises:
      ValueError: it is not installed; names the ``flag`` that asks for it and the extra that brings it.
    """
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ValueError(f"{flag} needs tensorflow-addons, which works with TensorFlow up to 2.15 only: in a new "
                         "virtual environment with Python 3.9 to 3.11 run pip install -e '.[addons]'")
    import tensorflow_addons  # Only here: its last release warns that it has ended.
    return tensorflow_addons
