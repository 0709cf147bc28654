"""Signals: one asks to stop, the second ends the process, one wish that comes twice is one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest
from paths import ROOT

# Blocks as TensorFlow does: outside of Python's instructions, where no handler of Python runs.
BLOCK = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 50_000_000)"


def start(body: str) -> subprocess.Popen:
    """A program that runs ``body``, as far as where it says that it is ready."""
    program = (
        "import sys, time\nfrom dsg_tf.process import stopping\nstopping.install()\n"
        "ready = lambda: print('ready', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program + textwrap.dedent(body)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process) -> tuple[int, str]:
    # Not `communicate`, which misses what came together with the line that `start` has read.
    output = process.stdout.read() + process.stderr.read()
    return process.wait(60), output


CATCH = """
    try:
        {}
    except stopping.Stopped as stopped:
        print(stopped)
        sys.exit(stopped.exit_code)
"""


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_signal_stops_with_a_sentence_and_its_exit_code(number, code):
    process = start(CATCH.format("ready(); time.sleep(60)"))
    process.send_signal(number)
    assert ended(process) == (code, "stopped; resume with the same command\n")


def test_postponed_work_is_cut_at_a_check_only():
    process = start(
        CATCH.format("""
        with stopping.postponed():
            ready()
            for k in range(20):
                time.sleep(0.05)
                print(k)
            stopping.check()
            print("never here")
    """)
    )
    process.send_signal(signal.SIGTERM)
    code, output = ended(process)
    assert code == 0 and output.split() == [*map(str, range(20)), *"stopped; resume with the same command".split()]


def test_workers_of_a_cluster_hear_the_signal(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": [host]}, "task": {"type": "worker", "index": 0}}))
    process = start("""
        from dsg_tf import config
        from dsg_tf.training import distribution
        distribution.make_strategy("multi_worker_mirrored")
        with stopping.postponed(until_agreed=True):
            ready()
            while not stopping.asked():
                time.sleep(0.05)
        print("heard")
    """)
    try:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
    assert process.stdout.read() == "heard\n" and process.returncode == 0


def test_check_is_silent_without_a_signal():
    code, output = ended(start("ready()\nwith stopping.postponed(): stopping.check()\nprint('went on')"))
    assert (code, output) == (0, "went on\n")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_second_signal_ends_at_once_even_inside_a_long_operation(second):
    process = start(f"with stopping.postponed(): ready(); {BLOCK}")
    process.send_signal(signal.SIGTERM)
    time.sleep(1.3)
    assert process.poll() is None
    process.send_signal(second)
    before = time.monotonic()
    assert ended(process)[0] == 128 + second and time.monotonic() - before < 2


def test_a_wish_that_arrives_twice_is_one():
    process = start(
        CATCH.format("""
        with stopping.postponed():
            ready()
            time.sleep(2)
            stopping.check()
    """)
    )
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)  # A parent process passes on what the terminal sent to both.
    process.send_signal(signal.SIGTERM)
    assert ended(process) == (130, "stopped; resume with the same command\n")


CHILD_OF_A_KILLED_PARENT = """
import multiprocessing, os, signal, sys, time
from dsg_tf.process import stopping

def child(path):
    stopping.install()
    stopping.stop_with_parent()
    try:
        open(path + ".started", "w").close()
        time.sleep(60)
    except stopping.Stopped:
        open(path + ".stopped", "w").close()

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[1],), daemon=True).start()
    while not os.path.exists(sys.argv[1] + ".started"):
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_child_stops_when_its_parent_is_killed(tmp_path):
    (tmp_path / "program.py").write_text(CHILD_OF_A_KILLED_PARENT)
    subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "child")],
        check=False,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "child.stopped").exists():
        assert time.monotonic() < deadline, "the child went on"
        time.sleep(0.05)
