"""The prepare command: what it writes, goes on with, and refuses."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time

import commands
import numpy as np
import pytest
import tensorflow as tf
from absl import app
from dataset_files import box, good_annotations, relationship, write_referring_relationships
from paths import ROOT

from dsg_tf.config import Config
from dsg_tf.data import clevr_classes
from dsg_tf.data.prepare import command as prepare
from dsg_tf.data.prepare.downloads import missing_data_message
from dsg_tf.data.prepare.referring_relationships import ReferringRelationships
from dsg_tf.data.prepare.shards import write_split
from dsg_tf.data.prepare.sources import SOURCES
from dsg_tf.data.prepare.synthetic import prepare_synthetic
from dsg_tf.data.problems import PreparationError
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Scene


def command(arguments, output_dir, split="train", **options):
    """The command line that prepares referring-relationships files."""
    values = {"format": "referring_relationships", "split": split, **arguments}
    values = {**values, "output_dir": output_dir, "processes": 1, **options}
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def run(arguments):
    prepare.prepare(commands.parsed(prepare.define_flags, arguments))


def content(folder):
    """{file name: bytes} of a folder, without the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "train.lock"}


def examples(folder, split):
    paths = DatasetInfo.load(str(folder)).shard_paths(str(folder), split)
    return [tf.train.Example.FromString(record.numpy()).features.feature for record in tf.data.TFRecordDataset(paths)]


@pytest.fixture(name="source")
def _source(tmp_path):
    return write_referring_relationships(tmp_path / "raw", good_annotations(7))


def test_records_hold_what_the_scenes_hold(source, tmp_path):
    reader = ReferringRelationships.from_files(**source)
    info = write_split(reader, "train", str(tmp_path / "out"), processes=1, num_shards=3)
    assert DatasetInfo.load(str(tmp_path / "out")).splits == {"train": info}
    read = examples(tmp_path / "out", "train")
    scenes = list(reader.scenes(None, {"images": 0, "relations": 0}))
    assert [len(read), info.num_images, info.num_relations] == [7, 7, 14]
    for scene, example in zip(scenes, read):
        ints = {name: list(feature.int64_list.value) for name, feature in example.items()}
        parsed = Scene(
            image_id=example["image/id"].bytes_list.value[0].decode(),
            image=example["image/encoded"].bytes_list.value[0],
            height=ints["image/height"][0],
            width=ints["image/width"][0],
            boxes=example["box/coordinates"].float_list.value,
            entities=ints["box/entity"],
            relations=np.stack([ints[f"relation/{role}"] for role in ("subject", "predicate", "object")], axis=1),
        )
        for field in dataclasses.fields(Scene):
            np.testing.assert_array_equal(getattr(parsed, field.name), getattr(scene, field.name))
        triplets, query_of_relation = scene.queries()
        assert ints["relation/query"] == query_of_relation.tolist()
        written = zip(ints["query/subject"], ints["query/predicate"], ints["query/object"])
        assert list(map(list, written)) == triplets.tolist()


def test_info_counts_the_split(tmp_path):
    annotations = good_annotations(5)
    annotations["000.png"] = [relationship(box(0), r, box(1)) for r in (0, 1, 5)]
    annotations["001.png"] = []
    source = write_referring_relationships(tmp_path / "raw", annotations)
    run(command(source, tmp_path / "out", num_shards=2))
    with open(tmp_path / "out" / "dataset_info.json", encoding="utf-8") as file:
        info = json.load(file)
    assert info["entities"] == ["person", "dog", "hat"] and info["relations"] == ["on", "next to"]
    assert info["flipped_relations"] == [0, 1] and info["format_version"] == 1
    split = info["splits"]["train"]
    assert split.pop("source")["annotations"].startswith("annotations.json sha256:")
    assert split.pop("bytes_per_shard") == [
        (tmp_path / "out" / f"train-0000{k}-of-00002.tfrecord").stat().st_size for k in range(2)
    ]
    assert split == {
        "num_images": 4,
        "num_boxes": 2 + 3 * 3,
        "num_relations": 2 + 3 * 2,
        "num_queries": 2 + 3 * 2,
        "num_shards": 2,
        "max_boxes": 3,
        "max_relations": 2,
        "max_queries": 2,
        "max_height": 30,
        "max_width": 40,
        "examples_per_shard": [1, 3],
        "annotated": {"images": 5, "relations": 3 + 3 * 2, "images_without_relation": 1},
        "problems": {
            "unknown_relation": {"count": 1, "first": ["000.png, relationship 2: 5 of 2"]},
            "no_relationship": {"count": 1, "first": ["001.png"]},
        },
    }
    assert sorted(content(tmp_path / "out")) == [
        "dataset_info.json",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="needs /proc")
def test_a_killed_run_goes_on_and_writes_the_same_bytes(tmp_path):
    source = write_referring_relationships(tmp_path / "raw", good_annotations(8))
    run(command(source, tmp_path / "whole", num_shards=4))

    # Reading a pipe waits for a writer: the run stops in the middle of the second shard.
    stuck, killed = tmp_path / "raw" / "images" / "003.png", tmp_path / "killed"
    image = stuck.read_bytes()
    stuck.unlink()
    os.mkfifo(stuck)
    process = subprocess.Popen(
        [sys.executable, "-m", "dsg_tf.data.prepare"] + command(source, killed, num_shards=4, processes=2),
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    shards, begun = "*-of-00004.json", "*tmp*"  # A worker that starts late may leave the others to one alone.
    _wait_until(lambda: (len(list(killed.glob(shards))) == 3 and list(killed.glob(begun))) or process.poll())
    workers = _children(process.pid)
    assert len(workers) >= 2
    before = {name: data for name, data in content(killed).items() if "tmp" not in name}  # That one may still grow.
    message = f"^{killed} is in use by process {process.pid} on {socket.gethostname()}$"
    for changes in ({}, {"overwrite": True}):
        with pytest.raises(ValueError, match=message):
            run(command(source, killed, num_shards=4, **changes))
    assert {name: killed.joinpath(name).read_bytes() for name in before} == before
    assert list(killed.glob("*tmp*"))
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    _wait_until(lambda: not any(map(_is_running, workers)))
    assert sorted(name for name in content(killed) if "tmp" not in name) == [
        f"train-0000{shard}-of-00004.{kind}" for shard in (0, 2, 3) for kind in ("json", "tfrecord")
    ]
    assert list(killed.glob("*tmp*")), "the shard that was being written"

    stuck.unlink()
    stuck.write_bytes(image)
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("*-of-00004.tfrecord")}
    run(command(source, killed, num_shards=4))
    assert content(killed) == content(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def _wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def _children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


def _is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_finished_split_is_found_and_another_source_refused(source, tmp_path):
    out = tmp_path / "out"
    run(command(source, out))
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    run(command(source, out))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    message = "split train made of something else: max_images None, now 3. Choose another"
    with pytest.raises(PreparationError, match=message):
        run(command(source, out, max_images=3))
    with pytest.raises(PreparationError, match="num_shards 1, now 2"):
        run(command(source, out, num_shards=2))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    run(command(source, out, max_images=3, overwrite=True))
    assert [e["image/id"].bytes_list.value[0] for e in examples(out, "train")] == [b"000.png", b"001.png", b"002.png"]


def test_a_finished_split_that_lost_a_shard_is_made_again(source, tmp_path):
    run(command(source, tmp_path / "out", num_shards=3))
    before = content(tmp_path / "out")
    os.remove(tmp_path / "out" / "train-00001-of-00003.tfrecord")
    run(command(source, tmp_path / "out", num_shards=3))
    assert content(tmp_path / "out") == before


def test_shards_of_a_killed_run_with_other_arguments_are_refused(source, tmp_path):
    out = tmp_path / "out"
    run(command(source, out, num_shards=2))
    info = DatasetInfo.load(str(out)).splits["train"]
    # As if that run had been killed before its last step.
    os.remove(out / "dataset_info.json")
    counts = {"source": info.source, "counts": {}}
    (out / "train-00000-of-00002.json").write_text(json.dumps(counts))
    (out / "train-00001-of-00002.tmp77.tfrecord").write_bytes(b"part of a shard")
    with pytest.raises(PreparationError, match="num_shards 2, now 3"):
        run(command(source, out, num_shards=3))
    run(command(source, out, num_shards=3, overwrite=True))
    assert sorted(content(out))[1:] == [f"train-0000{i}-of-00003.tfrecord" for i in range(3)]


def test_splits_share_a_directory_and_a_vocabulary(source, tmp_path):
    out = tmp_path / "out"
    run(command(source, out, split="train", first_image=3))
    run(command(source, out, split="val", max_images=3))
    assert DatasetInfo.load(str(out)).splits["train"].num_images == 4
    assert [len(examples(out, split)) for split in ("train", "val")] == [4, 3]
    with pytest.raises(ValueError, match="has no split 'test', only train, val"):
        DatasetInfo.load(str(out)).shard_paths(str(out), "test")
    with open(source["objects"], "w", encoding="utf-8") as file:
        json.dump(["person", "dog", "cat", "hat"], file)
    message = "3 entities .number 2 is 'hat'., this source has 4 .number 2 is 'cat'."
    with pytest.raises(PreparationError, match=message):
        run(command(source, out, split="test"))


def test_strict_refuses_new_and_already_prepared_data(tmp_path):
    annotations = {**good_annotations(3), "bad.png": [relationship(box(7), 0, box(0))]}
    source = write_referring_relationships(tmp_path / "raw", annotations)
    message = "unknown_entity: bad.png, relationship 0, subject: 7 of 3"
    with pytest.raises(PreparationError, match=message):
        run(command(source, tmp_path / "out", num_shards=2, strict=True))
    assert not (tmp_path / "out" / "dataset_info.json").exists()
    run(command(source, tmp_path / "out", num_shards=2))
    with pytest.raises(PreparationError, match=message):
        run(command(source, tmp_path / "out", num_shards=2, strict=True))


def test_a_split_of_which_nothing_survives_is_an_error(tmp_path):
    source = write_referring_relationships(tmp_path / "raw", good_annotations(6), images=["x.png"])
    with pytest.raises(PreparationError, match="(?s)split train can.*missing_image 6: .*001"):
        run(command(source, tmp_path / "out"))
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize(
    ["changes", "message"],
    [
        ({"objects": None, "images": None}, "referring_relationships needs --objects, --images"),
        ({"num_images": 4, "seed": 2}, "relationships has no use for --num_images, --seed"),
        ({"format": "clevr_scenes"}, "no use for --image_metadata, --objects, --predicates"),
        ({"output_dir": None}, "--output_dir is needed"),
    ],
)
def test_flags_that_do_not_fit_the_format_are_refused(source, tmp_path, changes, message):
    with pytest.raises(app.UsageError, match=message):
        run(command(source, **{"output_dir": tmp_path / "out", **changes}))
    assert not (tmp_path / "out").exists()


def test_numbers_that_do_not_fit_the_data_are_refused(source, tmp_path):
    with pytest.raises(PreparationError, match="8 shards are too many for 7 images"):
        run(command(source, tmp_path / "out", num_shards=8))
    with pytest.raises(PreparationError, match="--first_image=7, but there are 7 images"):
        run(command(source, tmp_path / "out", first_image=7))
    with pytest.raises(PreparationError, match="letters, digits and _, not 'a-b'"):
        run(command(source, tmp_path / "out", split="a-b"))


def test_check_prints_the_counts_and_writes_nothing(source, tmp_path, capsys):
    run([*command({**source, "images": None}, None), "--check"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["num_relations"] == printed["annotated"]["relations"] == 14
    assert printed["problems"] == {}
    assert os.listdir(tmp_path) == ["raw"]


def test_synthetic_splits_have_their_own_seeds(tmp_path):
    out = str(tmp_path)
    info = prepare_synthetic(out, "train", 3, processes=1)
    assert (info.num_images, info.source["seed"]) == (3, 1)
    run(["--format=synthetic", "--split=val", "--num_images=2", f"--output_dir={out}"])
    assert DatasetInfo.load(out).vocabulary == clevr_classes.VOCABULARY
    both = examples(out, "train") + examples(out, "val")
    assert len({example["image/encoded"].bytes_list.value[0] for example in both}) == 5
    with pytest.raises(PreparationError, match="--seed=1 is that of split train"):
        prepare_synthetic(out, "test", 2, seed=1)
    with pytest.raises(PreparationError, match="split extra needs a --seed"):
        prepare_synthetic(out, "extra", 2)


@pytest.mark.parametrize("dataset", SOURCES)
def test_missing_data_is_answered_with_commands_that_the_program_takes(dataset, tmp_path):
    data_dir = str(tmp_path / dataset)
    message = missing_data_message(dataset, data_dir)
    sentence, *lines = message.splitlines()
    assert sentence.startswith(f"{data_dir} has no prepared data: ")
    assert f"so that {data_dir}/raw holds " in sentence
    splits = []
    for line in lines:
        program, _, arguments = line.partition(" -m dsg_tf.data.prepare ")
        assert program == "  python"
        values = commands.parsed(prepare.define_flags, arguments.split())
        # The flags fit together; only the files are not there.
        with pytest.raises(PreparationError, match=f"cannot read {data_dir}/raw/"):
            prepare.prepare(values)
        splits.append(values.split)
        assert values.output_dir == data_dir
    parts = ("clevr_small", "coco_photos", "vrd_small")
    assert splits == (["train", "val"] if dataset in parts else ["train", "val", "test"])


def test_the_program_takes_every_data_set_that_has_a_message():
    choices = {field.name: field.metadata["choices"] for field in dataclasses.fields(Config)}["dataset"]
    assert set(choices) == {"", "synthetic", *SOURCES}


def test_an_unknown_data_set_has_no_message():
    with pytest.raises(ValueError, match="unknown data set 'lvis', there are vg, vrd"):
        missing_data_message("lvis", "data/lvis")
