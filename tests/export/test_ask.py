"""`dsg-ask` with a model in its own process: what it prints, writes and refuses."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_data
from commands import ENVIRONMENT
from paths import ROOT
from PIL import Image
from server_process import serving

from dsg_tf.drawing import answer_pictures
from dsg_tf.predict import plain_text
from dsg_tf.predict.checkpoint_model import CheckpointModel

pytestmark = pytest.mark.process

PHOTO = tiny_data.draw("test", 0).image
FREE = ["a red thing left of the blue disc", "red square, left, blue disc"]


@pytest.fixture(name="ask")
def _ask(tmp_path):
    """Runs the command beside photo.png."""
    (tmp_path / "photo.png").write_bytes(PHOTO)
    (tmp_path / "broken.png").write_bytes(PHOTO[:100])

    def run(*arguments):
        command = [sys.executable, "-m", "export.client", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)

    return run


def test_questions_are_answered_printed_and_drawn(ask, model_dir, tmp_path):
    expected = CheckpointModel.load(model_dir).answer(PHOTO, FREE)
    limit = max(answer.answer_probability for answer in expected) + 1e-4  # Above both: neither is found.
    done = ask(f"--model={model_dir}", "photo.png", *FREE, "--output=out/answer.png", f"--threshold={limit}")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout == "\n".join(plain_text.of_answer(answer, limit) for answer in expected) + "\n"
    assert (
        f"{FREE[0]}  not found ({expected[0].answer_probability:.2f})\n  understood: red thing: red sq" in done.stdout
    )
    with Image.open(tmp_path / "out" / "answer.png") as picture:
        np.testing.assert_array_equal(picture, answer_pictures.draw(PHOTO, expected, limit))

    # The lowest threshold; --image and --query mean the same as the arguments.
    done = ask(f"--model={model_dir}", "--image=photo.png", FREE[1], f"--query={FREE[0]}", "--json", "--threshold=0")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [expected[0].as_dict(), expected[1].as_dict()]


def test_the_scene_graph(ask, model_dir):
    done = ask(f"--model={model_dir}", "photo.png", "--scene_graph", "--json", "--output=graph.png")
    assert done.returncode == 0, done.stderr
    graph = json.loads(done.stdout)
    assert len(graph["entities"]) > 1 and {row["relation"] for row in graph["relations"]} <= {
        *tiny_data.VOCABULARY.relations
    }


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            ("--model=clevr", "--server=localhost:1", "photo.png", FREE[0]),
            "--model=clevr answers in this process, without a server: --server=localhost:1 is for one",
        ),
        (
            ("--model=clevr", "--tls", "photo.png", FREE[0]),
            "--model=clevr answers in this process, without a server: --tls=True is for one",
        ),
        (("--model=clevr", "photo.png"), "ask with --query"),
        (("--model=clevr", f"--query={FREE[0]}"), "--image is missing"),
        (("--model=clevr", "--scene_graph", "--threshold=0.1", "photo.png"), "--threshold=0.1 is for queries"),
        (("--model=clevr", "--words", "photo.png"), "ask with --query"),
        (("--model=celvr", "photo.png", FREE[0]), "'celvr' is no model: neither one at hand ("),
        (("--model=clevr", "gone.png", FREE[0]), "[Errno 2] No such file or directory: 'gone.png'"),
        (("--model=clevr", "--aliases=gone.json", "photo.png", FREE[0]), "gone.json"),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(ask, arguments, sentence):
    done = ask(*arguments)
    assert done.returncode == 1 and not done.stdout and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("client: ") and sentence in last


def test_a_picture_that_is_none_is_named(ask, model_dir):
    done = ask(f"--model={model_dir}", "broken.png", FREE[0])
    assert done.returncode == 1 and done.stderr.startswith("client: broken.png: not a JPEG or PNG image: ")


def test_without_a_server_it_says_what_else_answers(ask):
    with socket.socket() as port:
        if port.connect_ex(("localhost", 8500)) == 0:
            pytest.skip("something listens on port 8500")
    done = ask("photo.png", FREE[1])
    assert done.returncode == 1 and done.stderr.startswith("client: UNAVAILABLE: ")
    assert done.stderr.endswith(". Name a --server, or a --model, such as clevr, that answers in this process\n")


def test_a_server_exports_a_trained_model_for_as_long_as_it_runs(model_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    path = shutil.copytree(model_dir, tmp_path / "model")
    with serving(path) as server:
        status, found = server.rest("/v1/models/dsg/words")
        assert status == 200 and tuple(found["entities"]) == tiny_data.VOCABULARY.entities and found["version"] == "1"
        assert len([name for name in os.listdir(tmp_path) if name.startswith("dsg_serve_")]) == 1
        server.stop()
    assert not [name for name in os.listdir(tmp_path) if name.startswith("dsg_serve_")]


def test_a_server_that_is_stopped_while_it_exports_leaves_nothing(model_dir, tmp_path):
    environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "export.serve", f"--model_dir={model_dir}", "--port=0"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert any("it is exported first" in line for line in process.stderr)
        time.sleep(1)
        process.terminate()
        assert process.wait(30) == 0
    assert os.listdir(tmp_path) == []


def test_a_server_says_why_a_trained_model_cannot_be_exported(model_dir, tmp_path):
    path = shutil.copytree(model_dir, tmp_path / "model")
    shutil.rmtree(path / "checkpoints")
    command = [sys.executable, "-m", "export.serve", f"--model_dir={path}", "--port=0"]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    reason, refusal = done.stderr.splitlines()[-2:]
    assert done.returncode == 1 and "holds no checkpoint yet" in reason
    assert refusal == f"serve: --model_dir={path} could not be exported"
