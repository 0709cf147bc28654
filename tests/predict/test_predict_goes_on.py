"""Batch inference that is killed, started twice or begun with other settings."""

import contextlib
import importlib.util
import os
import pathlib
import signal
import socket
import threading
import time

import commands
import pytest
import tensorflow as tf
from predictions import NUM_IMAGES, QUERIES, asked, lines, run, summary

from dsg_tf.predict import exported_model as exported_lib
from dsg_tf.predict import shards as run_lib
from dsg_tf.predict.requests import PreparedSplit

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam: pip install -e '.[beam]'"
)


@contextlib.contextmanager
def stuck_at(image: pathlib.Path):
    """Who reads the image waits, as for a writer of a pipe, until the function that this yields is called."""
    content = image.read_bytes()
    image.unlink()
    os.mkfifo(image)
    yield lambda: image.write_bytes(content)
    image.unlink()
    image.write_bytes(content)


def wait_for(condition, process):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.05)


@needs_pipes
@pytest.mark.process
def test_a_killed_command_loses_the_batch_at_hand(saved_model, photos, tmp_path, monkeypatch):
    queries = asked(tmp_path / "queries.json", {f"test{i}.png": QUERIES for i in range(NUM_IMAGES)})
    arguments = {"saved_model": saved_model, "images": photos, "queries": queries, "num_shards": 2, "batch_size": 2}
    run(**arguments, output_dir=tmp_path / "whole")

    # The shards have the images 0 to 2 and 3 to 6: the kill is in the second batch of the second.
    killed = tmp_path / "killed"
    first, second = killed / "predictions-00000-of-00002.jsonl", killed / "predictions-00001-of-00002.unfinished"
    with stuck_at(photos / "test6.png"), commands.start("dsg_tf.predict", **arguments, output_dir=killed) as process:
        wait_for(lambda: second.exists() and second.read_bytes().count(b"\n") == 2, process)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "predictions.json").exists()
    with open(second, "ab") as file:  # A kill may come in the middle of a write.
        file.write(b'{"image": "test5.png", "answers": []}\n{"image": "te')

    answered, written = [], first.stat().st_mtime_ns
    lines_of = exported_lib.ExportedModel.lines

    def counted_lines(self, requests):
        answered.extend(request.image_id for request in requests)
        return lines_of(self, requests)

    monkeypatch.setattr(exported_lib.ExportedModel, "lines", counted_lines)
    run(**arguments, output_dir=killed)
    assert answered == ["test5.png", "test6.png"] and first.stat().st_mtime_ns == written
    for name in ("settings.json", *[f"predictions-0000{i}-of-00002.jsonl" for i in range(2)]):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir(killed)) == sorted(os.listdir(tmp_path / "whole"))
    counted = summary(killed)
    assert counted["num_answered_images"] == NUM_IMAGES and counted["last_run"]["images"] == 2
    run(**arguments, output_dir=killed)  # There is nothing left to do.
    assert summary(killed) == counted and len(answered) == 2


@needs_pipes
@pytest.mark.process
@pytest.mark.parametrize("runner", [None, pytest.param("DirectRunner", marks=needs_beam)])
def test_a_second_command_is_refused_while_the_first_works(runner, saved_model, photos, tmp_path):
    queries = asked(tmp_path / "queries.json", {f"test{i}.png": QUERIES for i in range(NUM_IMAGES)})
    out = tmp_path / "out"
    arguments = {"saved_model": saved_model, "images": photos, "queries": queries, "output_dir": out, "batch_size": 2}
    beam = {"runner": runner} if runner else {}
    with stuck_at(photos / "test6.png") as let_go, commands.start("dsg_tf.predict", **arguments, **beam) as process:
        growing = out / "predictions-00000-of-00001.unfinished"
        wait_for(lambda: growing.exists() and growing.read_bytes().count(b"\n") == 6, process)
        before = sorted(os.listdir(out))
        second = commands.run("dsg_tf.predict", **arguments)
        holder = f"process {process.pid} on {socket.gethostname()}"
        assert (second.returncode, second.stderr) == (1, f"predict: {out} is in use by {holder}\n")
        assert sorted(os.listdir(out)) == before
        let_go()
        assert process.wait() == 0
    assert len(lines(out)) == NUM_IMAGES
    run(**arguments)  # Nobody holds it any more.


def test_threads_of_one_process_load_the_model_once(monkeypatch):
    loaded = []

    def load(path):
        time.sleep(0.1)
        loaded.append(path)

    monkeypatch.setattr(run_lib.loading, "load", load)
    run_lib._loaded.cache_clear()
    threads = [threading.Thread(target=run_lib._load, args=("exported",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run_lib._loaded.cache_clear()
    assert loaded == ["exported"]


def test_other_settings_and_other_directories_are_refused(saved_model, data_dir, tmp_path):
    out, requests = str(tmp_path / "out"), PreparedSplit.load(data_dir, "test").part(0, 2)
    run_lib.predict(requests, saved_model, out)
    before = lines(out)
    message = f"--output_dir={out} holds other predictions: num_shards was 1, now 2. Choose"
    with pytest.raises(ValueError, match=message):
        run_lib.predict(requests, saved_model, out, num_shards=2)
    with pytest.raises(ValueError, match="num_images was 2, now 3"):
        run_lib.predict(PreparedSplit.load(data_dir, "test").part(0, 3), saved_model, out)
    for version in ("9", "12"):  # Refused before it is loaded, so any model will do.
        tf.saved_model.save(tf.Module(), str(tmp_path / "exported" / version))
    with pytest.raises(ValueError, match="saved_model was '3 [0-9/]*', now '12 "):
        run_lib.predict(requests, str(tmp_path / "exported"), out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="holds something else than predictions: thesis.txt"):
        run_lib.predict(requests, saved_model, str(tmp_path / "full"))
    assert lines(out) == before and os.listdir(tmp_path / "full") == ["thesis.txt"]
