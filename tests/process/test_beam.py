"""The same work on Apache Beam: the same files."""

import importlib.util
import json
import os
import re
import sys

import commands
import pytest
import tiny_data
from absl import app
from dataset_files import good_annotations, write_referring_relationships

from dsg_tf.data.prepare import command as prepare_command
from dsg_tf.predict import command as predict_command
from dsg_tf.process.beam import Beam

needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam: pip install -e '.[beam]'"
)
NUM_IMAGES = 7


def prepare(**arguments):
    prepare_command.prepare(commands.parsed(prepare_command.define_flags, _flags(arguments)))


def predict(**arguments):
    predict_command.predict(commands.parsed(predict_command.define_flags, _flags(arguments)))


def _flags(arguments) -> list[str]:
    return [f"--{name}={value}" for name, value in arguments.items()]


def content(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if "lock" not in path.name}


def shared(folder) -> dict[str, bytes]:
    """The content, without the lock and the times in the summary."""
    result = content(folder)
    described = json.loads(result.pop("predictions.json"))
    assert described.pop("last_run")["images"] == NUM_IMAGES + 1
    return {**result, "predictions.json": described}


@needs_beam
def test_the_direct_runner_prepares_the_same_files(tmp_path):
    source = write_referring_relationships(tmp_path / "raw", good_annotations(9))
    arguments = {"format": "referring_relationships", "split": "train", "num_shards": 4, **source}
    prepare(**arguments, output_dir=tmp_path / "local", processes=1)
    prepare(**arguments, output_dir=tmp_path / "beam", runner="DirectRunner")
    assert content(tmp_path / "beam") == content(tmp_path / "local")
    assert len(content(tmp_path / "beam")) == 4 + 1


@pytest.fixture(name="requests")
def _requests(exported, tmp_path):
    """Flags of `dsg_tf.predict`; half of the queries and one image have no answer."""
    queries = {f"{i}.png": ["red square, left, blue disc", "zebra, above, red disc"] for i in range(NUM_IMAGES)}
    os.mkdir(tmp_path / "photos")
    for i, name in enumerate(queries):
        (tmp_path / "photos" / name).write_bytes(tiny_data.draw("test", i).image)
    with open(tmp_path / "queries.json", "w", encoding="utf-8") as file:
        json.dump({**queries, "lost.png": []}, file)
    return {
        "saved_model": exported,
        "images": tmp_path / "photos",
        "queries": tmp_path / "queries.json",
        "num_shards": 3,
        "batch_size": 2,
    }


@needs_beam
def test_the_direct_runner_predicts_the_same_files(requests, tmp_path):
    predict(**requests, output_dir=tmp_path / "local")
    predict(**requests, output_dir=tmp_path / "beam", runner="DirectRunner")
    assert shared(tmp_path / "beam") == shared(tmp_path / "local")
    assert len(content(tmp_path / "beam")) == 3 + 3


RUNNING_MODES = ("in_memory", "multi_threading", "multi_processing")


def direct_runner(running_mode) -> dict[str, str]:
    """Flags."""
    return {"runner": "DirectRunner", "beam_options": f"--direct_num_workers=2 --direct_running_mode={running_mode}"}


@needs_beam
@pytest.mark.process
@pytest.mark.parametrize("running_mode", RUNNING_MODES)
def test_workers_of_the_direct_runner_prepare_the_same_files(running_mode, tmp_path):
    arguments = {"format": "synthetic", "split": "val", "num_images": 5, "num_shards": 3}
    prepare(**arguments, output_dir=tmp_path / "local", processes=1)
    done = commands.run("dsg_tf.data.prepare", **arguments, output_dir=tmp_path / "beam", **direct_runner(running_mode))
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "beam") == content(tmp_path / "local")


@needs_beam
@pytest.mark.process
@pytest.mark.parametrize("running_mode", RUNNING_MODES)
def test_workers_of_the_direct_runner_predict_the_same_files(running_mode, requests, tmp_path):
    predict(**requests, output_dir=tmp_path / "local")
    done = commands.run("dsg_tf.predict", **requests, output_dir=tmp_path / "beam", **direct_runner(running_mode))
    assert done.returncode == 3 and "8 images, 7 of their 14 queries" in done.stdout, done.stderr
    assert shared(tmp_path / "beam") == shared(tmp_path / "local")

    done = commands.run(
        "dsg_tf.predict", **requests, strict=True, output_dir=tmp_path / "strict", **direct_runner(running_mode)
    )
    assert done.returncode == 1
    # Beam logs the stack trace of a worker; what the command itself says comes last.
    assert re.fullmatch(r"predict: (bad_query|missing_image): .* \(--strict\)", done.stderr.splitlines()[-1])
    assert not list((tmp_path / "strict").glob("*.piece*"))


@needs_beam
def test_options_and_runners_that_beam_does_not_take_are_told_before_the_work(tmp_path, capsys):
    arguments = {"format": "synthetic", "split": "val", "num_images": 2, "output_dir": tmp_path / "out"}
    with pytest.raises(SystemExit):
        prepare(
            **arguments, runner="DirectRunner", beam_options="--direct_num_workers=2 --direct_running_mode=sideways"
        )
    assert "argument --direct_running_mode: invalid choice: 'sideways'" in capsys.readouterr().err
    with pytest.raises(app.UsageError, match="Unexpected pipeline runner: HamsterRunner"):
        prepare(**arguments, runner="HamsterRunner")
    assert not (tmp_path / "out").exists()


def test_without_beam_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # Its import then fails.
    message = r"--runner=DirectRunner needs Apache Beam .*: pip install -e '\.\[beam\]'"
    with pytest.raises(ValueError, match=message):
        Beam("DirectRunner")
    with pytest.raises(app.UsageError, match=message):
        prepare(format="synthetic", split="val", num_images=2, output_dir=tmp_path / "out", runner="DirectRunner")
    assert not (tmp_path / "out").exists()


def test_processes_are_of_this_machine(tmp_path):
    with pytest.raises(app.UsageError, match="--processes=2 has no effect with --runner=DirectRunner"):
        prepare(
            format="synthetic",
            split="val",
            num_images=2,
            output_dir=tmp_path / "out",
            runner="DirectRunner",
            processes=2,
        )
