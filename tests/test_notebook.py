"""The form of docs/tour.ipynb: it was run from top to bottom, says nothing of the machine that ran it, and is small.

`tests/test_documents.py` parses its commands, and `tests/slow/test_tour.py` runs it.
"""

from __future__ import annotations

import ast
import base64
import io
import os
import re

import notebook_cells
import pytest
from paths import ROOT
from PIL import Image

CODE = notebook_cells.cells("code")
TEXT = notebook_cells.cells("markdown")
OUTPUTS = [(cell["id"], output) for cell in CODE for output in cell["outputs"]]
BYTES, PIXELS = 1_000_000, 1_000
# A path from the root of a machine, of any system, and the address of an object.
OF_A_MACHINE = re.compile(r"""(?:^|[\s"'(=\[])(?:/\w[\w.-]*/|~/|[A-Z]:\\)|\b0x[0-9a-f]{6,}""", re.MULTILINE)


def texts(output) -> list[str]:
    """What an output has in words."""
    if output["output_type"] == "stream":
        return ["".join(output["text"])]
    return ["".join(value) for kind, value in output["data"].items() if kind.startswith("text/")]


def pictures(output) -> list[bytes]:
    data = output.get("data", {})
    return [base64.b64decode("".join(value)) for kind, value in data.items() if kind.startswith("image/")]


def shows(source: str) -> bool:
    """Whether code has something to show: it prints, or ends with a value."""
    last = ast.parse(source).body[-1]
    return "print(" in source or isinstance(last, ast.Expr)


def test_it_was_run_once_from_top_to_bottom():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    assert [cell["id"] for cell in CODE if shows(cell["source"]) and not cell["outputs"]] == []


def test_nothing_failed_and_nobody_made_noise():
    assert {output["output_type"] for _, output in OUTPUTS} == {"stream", "display_data", "execute_result"}
    assert [name for name, output in OUTPUTS if output.get("name") == "stderr"] == []


@pytest.mark.parametrize("cell", CODE, ids=lambda cell: cell["id"])
def test_code_is_plain_python_in_short_cells(cell):
    ast.parse(cell["source"])  # Which no line of a magic, `%` or `!`, passes.
    assert len(cell["source"].splitlines()) <= 30


def test_nothing_tells_of_the_machine_that_ran_it():
    found = [cell["source"] for cell in CODE + TEXT] + [text for _, output in OUTPUTS for text in texts(output)]
    assert [text for text in found if OF_A_MACHINE.search(text)] == []
    for told in ("in /tmp/a/b", '"/home/me/x"', "C:\\Users", "~/runs", "<object at 0x7f00aa11>", "=/work/x"):
        assert OF_A_MACHINE.search(told), told
    for told in ("runs/tour/data", "subject / object", "±/IoU", "https://a.b/c", "read/write"):
        assert not OF_A_MACHINE.search(told), told


def test_pictures_are_there_and_small():
    found = [picture for _, output in OUTPUTS for picture in pictures(output)]
    assert len(found) >= 6
    for picture in found:
        with Image.open(io.BytesIO(picture)) as image:
            assert max(image.size) <= PIXELS
    assert os.path.getsize(os.path.join(ROOT, notebook_cells.NOTEBOOK)) < BYTES


def test_links_lead_to_files_and_lines_are_short():
    folder = os.path.dirname(notebook_cells.NOTEBOOK)
    for cell in TEXT:
        for target in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", cell["source"]):
            assert os.path.exists(os.path.join(ROOT, folder, target)), target
        assert max(map(len, cell["source"].splitlines())) <= 120


def test_it_writes_below_one_folder():
    places = re.findall(r"--(?:\w+_dir|output)=(\S+)", " ".join(notebook_cells.commands()))
    assert len(places) >= 6 and all(place.startswith("runs/tour/") for place in places)
    assert len(notebook_cells.commands()) >= 5
