"""docs/first_minutes.md says what its commands print."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import documents
import pytest
from commands import ENVIRONMENT
from documents import Command
from paths import ROOT

pytestmark = pytest.mark.process
PAGE = "docs/first_minutes.md"
BLOCKS = documents.fenced_blocks(PAGE)
# What stands below a block of commands or of Python is what it prints.
SHOWN = [(block, text) for (_, block), (language, text) in zip(BLOCKS, BLOCKS[1:]) if language == "text"]
ASKED = [(block, text) for block, text in SHOWN if "dsg-ask" in block]
NUMBER = re.compile(r"\d+\.\d*")


def same(printed: str, documented: str) -> None:
    """Word for word, and number for number but for their last digits."""
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", documented), printed
    numbers = zip(NUMBER.findall(printed), NUMBER.findall(documented))
    assert all(float(one) == pytest.approx(float(other), abs=0.02) for one, other in numbers), printed


@pytest.fixture
def folder(tmp_path):
    """Where a newcomer is after `cp`."""
    shutil.copy(os.path.join(ROOT, "docs", "first_minutes", "scene.jpg"), tmp_path / "photo.jpg")
    return tmp_path


def run(folder, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**ENVIRONMENT, "PYTHONPATH": ROOT}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("block, documented", ASKED, ids=lambda text: text.splitlines()[-1][:60])
def test_an_answer_and_a_refusal_are_as_documented(block, documented, folder):
    command = Command.parse(block.splitlines()[-1])
    done = run(folder, "-m", "export.client", *command.arguments)
    refused = documented.startswith("dsg-ask: ")
    assert done.returncode == refused and (done.stderr == "") is not refused, done.stderr
    same(done.stderr.replace("client: ", "dsg-ask: ", 1) if refused else done.stdout, documented)
    assert ("--output=answer.png" in block) is (folder / "answer.png").exists()


def test_the_lines_of_python_print_what_is_documented(folder):
    ((code, documented),) = [(block, text) for block, text in SHOWN if "import" in block]
    done = run(folder, "-c", code)
    assert done.returncode == 0, done.stderr
    same(done.stdout, documented)
    assert (folder / "answer.png").exists()


def test_there_are_answers_refusals_and_what_is_not_found():
    assert len(ASKED) >= 6
    texts = [text for _, text in ASKED]
    assert sum(text.startswith("dsg-ask: ") for text in texts) >= 3
    assert any("not found" in text for text in texts) and any("understood: " in text for text in texts)
