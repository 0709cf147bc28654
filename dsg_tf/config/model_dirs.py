"""Model directories by name: those that training writes, and those that come with the program, in half precision."""

from __future__ import annotations

import os

MODELS = "models"
# What the files of packed weights are called, before ".index" and ".data-00000-of-00001".
WEIGHTS = "weights"
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# An installed package has the models inside, a checkout beside the package.
_FOLDERS = (os.path.join(_PACKAGE, MODELS), os.path.join(os.path.dirname(_PACKAGE), MODELS))


def find(model_dir: str) -> str:
    """The path of a model directory: the one that is named; where there is none, of `models/NAME` the program's own."""
    folder, name = os.path.split(os.path.normpath(model_dir))
    if folder == MODELS and not os.path.exists(model_dir):
        for path in (os.path.join(folder, name) for folder in _FOLDERS):
            if os.path.isdir(path):
                return path
    return model_dir


def is_packed(model_dir: str) -> bool:
    """Whether `dsg_tf.pack` wrote the directory; also where a part of the weights is gone."""
    prefix = os.path.join(model_dir, WEIGHTS)
    return any(os.path.exists(prefix + end) for end in (".index", ".data-00000-of-00001"))


def results_dir(model_dir: str) -> str:
    """Where results about a model go: beside it, of a packed one to `runs/models/NAME`.

    Packed models belong to a repository or to an installed package, which nothing is written to.
    """
    if not is_packed(find(model_dir)):
        return model_dir
    return os.path.join("runs", MODELS, os.path.basename(os.path.normpath(model_dir)))
