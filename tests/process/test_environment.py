"""What is settled before TensorFlow is imported."""

import os
import subprocess
import sys
import textwrap

import pytest
from paths import ROOT

from dsg_tf.process import environment

# Says what it likes as a library would, and as a file of this program.
LOG = """
    def log(path, level):
        exec(compile(f"logging.{level}('{level} of {path}')", path, "exec"), {"logging": logging})

    for level in ("info", "warning", "error"):
        log("/usr/lib/python3/library.py", level)
        log(os.path.join(sys.argv[1], "dsg_tf", "some.py"), level)
        log(os.path.join(sys.argv[1], "export", "serving", "other.py"), level)
"""


def run(body: str, **variables) -> str:
    """The output of a program; the variables are all that the environment has of those that `prepare` sets."""
    ours = ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", environment.ONEDNN)
    others = {name: value for name, value in os.environ.items() if name not in ours}
    program = "import os, sys\nfrom absl import logging\nfrom dsg_tf.process import environment\n" + textwrap.dedent(
        body
    )
    done = subprocess.run(
        [sys.executable, "-c", program, ROOT],
        cwd=ROOT,
        env={**others, **variables},
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.stdout


@pytest.mark.parametrize("value, expected", [("1", True), ("0", False)])
@pytest.mark.parametrize("features", [set(), {"amx_tile"}])
def test_the_variable_decides_about_onednn_whatever_the_processor_has(monkeypatch, value, expected, features):
    monkeypatch.setenv(environment.ONEDNN, value)
    monkeypatch.setattr(environment, "_processor_features", lambda: features)
    assert environment.onednn_is_on() == expected


@pytest.mark.parametrize(
    "features, expected",
    [({"sse4_2", "avx2", "avx512_vnni"}, True), ({"avx_vnni"}, True), ({"avx2"}, False), (set(), False)],
)
def test_without_the_variable_the_processor_decides_about_onednn(monkeypatch, features, expected):
    monkeypatch.delenv(environment.ONEDNN, raising=False)
    monkeypatch.setattr(environment, "_processor_features", lambda: features)
    assert environment.onednn_is_on() == expected


PRINT = 'print(*(os.environ.get(n) for n in ("TF_USE_LEGACY_KERAS", "TF_CPP_MIN_LOG_LEVEL", environment.ONEDNN)))'


@pytest.mark.parametrize(
    "arguments, variables, expected",
    [
        ("batches=True", {}, "1 3 1"),
        ("batches=False", {}, "1 3 None"),
        ("batches=True, debug=True", {}, "1 None 1"),
        ("batches=True", {environment.ONEDNN: "0", "TF_CPP_MIN_LOG_LEVEL": "1"}, "1 1 0"),
    ],
)
def test_variables_that_are_not_set_are(arguments, variables, expected):
    assert run(f"environment.prepare({arguments})\n{PRINT}", **variables) == expected + "\n"


def test_libraries_are_heard_about_errors_only():
    output = run("environment.prepare(batches=False)\n" + textwrap.dedent(LOG))
    assert [line.split("] ")[1].split(" of ")[0] for line in output.splitlines() if "library.py" in line] == ["error"]
    for path in (os.path.join(ROOT, "dsg_tf", "some.py"), os.path.join(ROOT, "export", "serving", "other.py")):
        assert all(f"] {level} of {path}" in output for level in ("info", "warning", "error"))


def test_with_debug_libraries_say_what_they_like():
    output = run("environment.prepare(batches=False, debug=True)\n" + textwrap.dedent(LOG))
    assert all(f"] {level} of /usr/lib/python3/library.py" in output for level in ("info", "warning", "error"))
