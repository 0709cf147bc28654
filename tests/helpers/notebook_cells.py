"""The notebook of the documentation, without the packages that run one."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from typing import Any

from paths import ROOT

NOTEBOOK = "docs/tour.ipynb"


def missing() -> str:
    """What is not installed of what runs a notebook, and how to get it; "" where all is."""
    names = [name for name in ("nbclient", "nbformat", "ipykernel") if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(names)}; pip install -e '.[notebook]'" if names else ""


def cells(kind: str) -> list[dict[str, Any]]:
    """The cells of a kind, "code" or "markdown", as the file has them, but `source` as one text."""
    with open(os.path.join(ROOT, NOTEBOOK), encoding="utf-8") as file:
        found = [cell for cell in json.load(file)["cells"] if cell["cell_type"] == kind]
    return [{**cell, "source": "".join(cell["source"])} for cell in found]


def commands() -> list[str]:
    """Every text of its code that begins with "python ", with the values that its variables have there."""
    texts = _Texts()
    for cell in cells("code"):
        texts.visit(ast.parse(cell["source"]))
    return list(dict.fromkeys(text for text in texts.found if text.startswith("python ")))


class _Texts(ast.NodeVisitor):
    """All texts in the order of the code, those with variables filled in where the variables are plain values."""

    def __init__(self):
        self.found: list[str] = []
        self._values: dict[str, Any] = {}

    def visit_Assign(self, node):
        if isinstance(node.targets[0], ast.Name) and isinstance(node.value, (ast.Constant, ast.JoinedStr)):
            self._values[node.targets[0].id] = self._value(node.value)
        self.visit(node.value)

    def visit_Constant(self, node):
        if isinstance(node.value, str):
            self.found.append(node.value)

    def visit_JoinedStr(self, node):
        if "python " in ast.unparse(node.values[0]):
            self.found.append(self._value(node))

    def _value(self, node):
        return eval(compile(ast.Expression(node), NOTEBOOK, "eval"), {}, self._values)
