"""Files that grow line by line, by one process at a time, killed or not."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from paths import ROOT

from dsg_tf.process.growing_file import growing, num_lines, unfinished_name

ADD = """
import sys
from dsg_tf.process.growing_file import growing
with growing(sys.argv[1], 1) as file:
    print(file.num_lines, flush=True)
    if not file.num_lines:
        file.append(["one", "two"])
        print("added", flush=True)
        sys.stdin.readline()
"""


@contextlib.contextmanager
def add(path):
    with subprocess.Popen(
        [sys.executable, "-c", ADD, path], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_file_has_its_name_when_it_is_whole(tmp_path):
    path = str(tmp_path / "new" / "lines.jsonl")
    with growing(path, 2) as file:
        assert file.num_lines == 0
        file.append(["größer", "2"])
        assert os.listdir(tmp_path / "new") == ["lines.unfinished"] and num_lines(unfinished_name(path)) == 2
        file.append(["3"])
    assert os.listdir(tmp_path / "new") == ["lines.jsonl"]
    with open(path, encoding="utf-8") as whole:
        assert whole.read() == "größer\n2\n3\n"
    with growing(path, 2) as file:  # Beam asks for what is done once more.
        assert file.num_lines == 3
    assert os.listdir(tmp_path / "new") == ["lines.jsonl"]


@pytest.mark.parametrize(
    "left, group, kept", [("", 2, 0), ("1\n2\n3\n4\n5", 2, 4), ("1\n2\n3\n", 2, 2), ("1\n", 2, 0), ("1\n2\n3", 1, 2)]
)
def test_half_lines_and_groups_that_are_not_full_are_cut(left, group, kept, tmp_path):
    path = str(tmp_path / "lines.jsonl")
    (tmp_path / "lines.unfinished").write_text(left)
    assert num_lines(unfinished_name(path), group) == kept
    with growing(path, group) as file:
        assert file.num_lines == kept
        file.append(["more"])
    assert (tmp_path / "lines.jsonl").read_text().split() == [*map(str, range(1, kept + 1)), "more"]


def test_an_error_leaves_the_lines_and_not_the_name(tmp_path):
    path = str(tmp_path / "lines.jsonl")
    with pytest.raises(KeyError), growing(path, 1) as file:
        file.append(["1"])
        raise KeyError
    assert os.listdir(tmp_path) == ["lines.unfinished"]
    with pytest.raises(OSError, match=f"^{path}: No space$"), growing(path, 1):
        raise OSError("No space")


@pytest.mark.process
def test_a_second_process_waits_and_finds_the_file_whole_or_goes_on(tmp_path):
    path = str(tmp_path / "lines.jsonl")
    with add(path) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["0\n", "added\n"]
        with add(path) as second:
            with pytest.raises(subprocess.TimeoutExpired):  # It waits.
                second.wait(2)
            first.stdin.write("\n")
            first.stdin.close()
            assert second.stdout.readline() == "2\n" and second.wait(60) == 0
    assert os.listdir(tmp_path) == ["lines.jsonl"]

    os.remove(path)
    with add(path) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["0\n", "added\n"]
        with add(path) as second:
            first.send_signal(signal.SIGKILL)
            assert second.stdout.readline() == "2\n" and second.wait(60) == 0
    assert os.listdir(tmp_path) == ["lines.jsonl"] and num_lines(path) == 2
