"""Files that are whole or not there, full disks, and directories that one process holds."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest
from paths import ROOT

from dsg_tf.process import files

HOLD = """
import sys, time
from dsg_tf.process import files
with files.held(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def full_disk(size):
    """No file may grow beyond ``size`` bytes: the error of a full disk, for root as for anyone.

    Not a fixture: pytest itself writes between the steps of a test.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path):
    path = str(tmp_path / "results.json")
    files.write_text(path, "old")
    with full_disk(1000), pytest.raises(OSError, match=f"{path}: .*File too large"):
        files.write_text(path, "new" * 1000)
    assert os.listdir(tmp_path) == ["results.json"] and (tmp_path / "results.json").read_text() == "old"


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=str(tmp_path / "file")), files.held(str(tmp_path / "file" / "run")):
        pass


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    with full_disk(0), pytest.raises(OSError, match=f"{tmp_path}/lock: .*"), files.held(str(tmp_path)):
        pytest.fail("held")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to any directory")
def test_a_read_only_directory_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=str(tmp_path / "lock")), files.held(str(tmp_path)):
        pass


def hold(directory) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, directory], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_directory_is_refused_until_its_process_is_gone(tmp_path):
    directory = str(tmp_path / "run")
    with hold(directory) as first:
        message = f"^{directory} is in use by process {first.pid} on {socket.gethostname()}$"
        for _ in range(2):  # A refusal does not change what the file says.
            with pytest.raises(ValueError, match=message), files.held(directory):
                pass
        first.send_signal(signal.SIGKILL)
        first.wait()
        with files.held(directory):
            assert (tmp_path / "run" / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"
            with pytest.raises(ValueError, match=f"process {os.getpid()} "), files.held(directory):
                pass
    with files.held(directory):
        pass


def test_two_directories_and_two_locks_are_held_at_once(tmp_path):
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    with files.held(a), files.held(b), files.held(b, "val.lock"):
        with pytest.raises(ValueError, match=f"^{b} is in use by "), files.held(b, "val.lock"):
            pass
