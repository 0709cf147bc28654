"""The script that takes the pictures of docs/tensorboard.md."""

from __future__ import annotations

import importlib.util
import os

from paths import ROOT


def load():
    """The module `docs/tensorboard_pages.py`."""
    path = os.path.join(ROOT, "docs", "tensorboard_pages.py")
    spec = importlib.util.spec_from_file_location("tensorboard_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
