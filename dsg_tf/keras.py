"""The one place that knows which set of packages is installed: which Keras, and whether tensorflow-addons is there.

Model Garden 2.16 and later is written on `tf_keras` (Keras 2 as a package of its own), Model Garden 2.15 on the
`tf.keras` of TensorFlow 2.15, which is the same Keras 2. Every other module imports `keras` from here.
"""

from __future__ import annotations

import importlib.util

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) >= (2, 16):
    import tf_keras as keras

    PACKAGE = "tf_keras"  # The installed distribution that it comes from.
else:
    keras = tf.keras
    PACKAGE = "keras"

__all__ = ["PACKAGE", "keras", "load_addons"]


def load_addons(flag: str):
    """Returns the module `tensorflow_addons`: GIoU loss, LAMB and Lookahead optimizers.

    Raises:
      ValueError: it is not installed; names the `flag` that asks for it and the extra that brings it.
    """
    if importlib.util.find_spec("tensorflow_addons") is None:
        raise ValueError(
            f"{flag} needs tensorflow-addons, which works with TensorFlow up to 2.15 only: in a new "
            "virtual environment with Python 3.9 to 3.11 run pip install -e '.[addons]'"
        )
    import tensorflow_addons  # Only here: its last release warns that it has ended.

    return tensorflow_addons
