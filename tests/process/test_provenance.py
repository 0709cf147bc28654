"""Which program, which command and which libraries a run tells that it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from paths import ROOT

from dsg_tf.process import provenance


def test_all_parts_of_the_program_are_known():
    assert "unknown" not in provenance.description().values()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_a_checkout_of_this_program(tmp_path, monkeypatch):
    def git(*arguments):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *arguments], check=True, capture_output=True)

    package = tmp_path / "venv" / "dsg_tf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(provenance, "_HERE", str(package))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() is None  # No checkout.
    git("init")
    (tmp_path / "other.py").write_text("")
    git("add", "other.py")
    git("commit", "-m", "of another project")
    assert provenance.commit() is None  # It does not know this file.
    git("add", ".")
    git("commit", "-m", "of this program")
    commit = provenance.commit()
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    (package / "__init__.py").write_text("changed")
    assert provenance.commit() == commit + "-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() is None
    monkeypatch.setattr(provenance, "installed", {"dsg_tf": "0.1.0", "tf-models-official": "2.20.0"}.get)
    assert provenance.description()["dsg_tf"] == "version 0.1.0"


def test_the_command_is_told_from_the_root_of_the_program(monkeypatch):
    monkeypatch.setattr(sys, "argv", [os.path.join(ROOT, "dsg_tf", "compare", "__main__.py"), "--model_dir=a b"])
    assert provenance.command() == "dsg_tf/compare/__main__.py '--model_dir=a b'"
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed=1"])
    assert provenance.command() == "train.py --seed=1"


def test_a_package_that_is_not_installed_has_an_unknown_version():
    assert (
        provenance.installed("no-such-package-as-this") == "unknown" and provenance.installed("tensorflow") != "unknown"
    )
