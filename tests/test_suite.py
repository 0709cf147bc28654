"""The suite itself: a test that kills its process, or never ends, ends the run with its name."""

import os
import subprocess
import sys

import pytest
from paths import ROOT

pytestmark = pytest.mark.process

DEADLY = """
import os, time

def test_before(): time.sleep(0.2)
def test_that_kills(): os.abort()
def test_after(): pass
"""
ENDLESS = """
import time

def test_that_hangs(): time.sleep(60)
"""


@pytest.mark.parametrize(
    "files, options, name",
    [
        ({"test_a.py": DEADLY, "test_b.py": DEADLY}, [], "test_that_kills"),
        ({"test_a.py": ENDLESS}, ["-o", "timeout=1"], "test_that_hangs"),
    ],
)
def test_a_fatal_test_is_named_and_ends_the_run(tmp_path, files, options, name):
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    settings = ["-c", os.path.join(ROOT, "setup.cfg"), f"--rootdir={tmp_path}", *options]
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist=loadfile", *settings, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert done.returncode == 1 and failed and all(name in line for line in failed), done.stdout
    assert len(failed) == len(files)  # Each once: a process that died is not started again with the same test.
