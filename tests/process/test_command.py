"""How a command begins and ends."""

import os
import signal
import subprocess
import sys

import pytest
from paths import ROOT

from dsg_tf.process import command, stopping

PROGRAM = '''
"""Copies a thing."""
import sys
from absl import flags
from dsg_tf.process import command
from other import define_flags_of_another_module


def define_flags(values):
    flags.DEFINE_string("thing", None, "what to copy", required=True, flag_values=values)
    define_flags_of_another_module(values)


def main():
    if flags.FLAGS.thing == "nothing":
        raise ValueError("--thing=nothing cannot be copied")
    if flags.FLAGS.thing == "bug":
        raise TypeError("a bug")
    if flags.FLAGS.thing == "long":
        import time
        print("ready", flush=True)
        time.sleep(60)
    print(f"copied {flags.FLAGS.thing}, tensorflow {'tensorflow' in sys.modules}")


if __name__ == "__main__":
    command.run("copy", define_flags, main)
'''


OTHER = """
from absl import flags


def define_flags_of_another_module(values):
    flags.DEFINE_integer("copies", 1, "how many", flag_values=values)
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "other.py").write_text(OTHER)
    (tmp_path / "copy_thing.py").write_text(PROGRAM)
    return [sys.executable, str(tmp_path / "copy_thing.py")]


def run(program, *arguments) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": ROOT}
    return subprocess.run([*program, *arguments], env=environment, text=True, capture_output=True, check=False)


def test_a_command_does_its_work(program):
    done = run(program, "--thing=cup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "copied cup, tensorflow False\n", "")


def test_help_has_the_docstring_and_the_flags(program):
    text = run(program, "--help").stdout
    assert all(
        part in text
        for part in (
            "Copies a thing.",
            "--thing: what to copy",
            "--[no]debug: show the stack trace",
            "--copies: how many",
        )
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "flag --thing=None: Flag --thing must have a value other than None"),
        (["--thing=cup", "saucer"], "unexpected arguments: ['saucer']"),
        (["--thng=cup"], "Unknown command line flag 'thng'"),
    ],
)
def test_wrong_flags_are_told_before_the_work(program, arguments, message):
    done = run(program, *arguments)
    assert done.returncode == 1 and done.stdout.count("copied") == 0
    assert message in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_an_error_for_users_is_a_sentence(program):
    done = run(program, "--thing=nothing")
    assert (done.returncode, done.stderr) == (1, "copy: --thing=nothing cannot be copied\n")


@pytest.mark.parametrize("arguments", [["--thing=nothing", "--debug"], ["--thing=bug"]])
def test_a_bug_and_any_error_with_debug_have_a_stack_trace(program, arguments):
    done = run(program, *arguments)
    assert done.returncode == 1 and "Traceback" in done.stderr and "copy_thing.py" in done.stderr


@pytest.mark.process
def test_a_signal_ends_a_command_with_a_sentence(program):
    process = subprocess.Popen(
        [*program, "--thing=long"],
        env={**os.environ, "PYTHONPATH": ROOT},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        # The thread that hears signals may write its line into the midst of this one's end.
        assert "copy: stopped; resume with the same command" in process.stderr.read()
    assert process.returncode == 0


@pytest.mark.parametrize("asked, code", [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"])
def test_a_stop_ends_with_a_sentence_and_its_exit_code(monkeypatch, capsys, asked, code):
    monkeypatch.setattr(stopping, "_asked", asked)
    with pytest.raises(SystemExit) as ended, command.ending("train", debug=False):
        raise stopping.Stopped("at step 7")
    assert ended.value.code == code
    assert capsys.readouterr().err == "train: stopped at step 7; resume with the same command\n"
