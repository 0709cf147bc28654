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
    """The path of a model directory: the one that is named; where there is none, of `models/NAME` the program's own.

    `NAME` alone is `models/NAME`, too, if neither a directory nor a checkpoint has that name.
    """
    folder, name = os.path.split(os.path.normpath(model_dir))
    if os.path.exists(model_dir) or os.path.exists(f"{model_dir}.index"):
        return model_dir
    if not folder:
        inside = os.path.join(MODELS, name)
        return inside if os.path.isdir(inside) else _own(name) or model_dir
    return folder == MODELS and _own(name) or model_dir


def at_hand() -> list[str]:
    """The names of the whole models that come with the program."""
    found = {
        name
        for folder in _FOLDERS
        if os.path.isdir(folder)
        for name in os.listdir(folder)
        if os.path.exists(os.path.join(folder, name, "config.json"))
    }
    return sorted(found)


def _own(name: str) -> str | None:
    """The path of the program's own model of that name; None: there is none."""
    paths = (os.path.join(folder, name) for folder in _FOLDERS)
    return next(filter(os.path.isdir, paths), None) if name not in ("", os.curdir, os.pardir) else None


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
