"""Batch inference: the exported model's answers for every image, whatever is wrong with the others."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from absl import app, flags
from paths import ROOT

from dsg_tf.data.problems import PreparationError
from dsg_tf.data.roles import QUERY_PARTS, ROLES
from dsg_tf.predict import command
from dsg_tf.predict import exported_model as exported_lib
from dsg_tf.predict import shards as run_lib
from dsg_tf.predict.requests import ImageFolder, PreparedSplit

QUERIES = ["red square, left, blue disc", "Blue  Disc,above, green square"]
NUM_IMAGES = 7


@pytest.fixture(scope="module")
def saved_model(exported, tmp_path_factory):
    """A directory of versions."""
    versions = tmp_path_factory.mktemp("versions")
    shutil.copytree(exported, versions / "3")
    return str(versions)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder, {"test": NUM_IMAGES})
    return folder


@pytest.fixture(name="photos")
def _photos(tmp_path):
    """The images of the test split as files."""
    os.makedirs(tmp_path / "photos")
    for index in range(NUM_IMAGES):
        (tmp_path / "photos" / f"test{index}.png").write_bytes(tiny_data.draw("test", index).image)
    return tmp_path / "photos"


def run(**arguments) -> str:
    values = flags.FlagValues()
    command.define_flags(values)
    values(["predict", *[f"--{name}={value}" for name, value in arguments.items()]])
    return command.predict(values)


def asked(path, queries) -> str:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(queries, file)
    return str(path)


def lines(folder) -> list[dict]:
    paths = sorted(path for path in os.listdir(folder) if path.endswith(".jsonl"))
    return [json.loads(line) for path in paths for line in open(os.path.join(folder, path), encoding="utf-8")]


def summary(folder) -> dict:
    with open(os.path.join(folder, "predictions.json"), encoding="utf-8") as file:
        return json.load(file)


def all_triplets() -> dict:
    """The queries of the prepared split, in words."""
    words = tiny_data.VOCABULARY
    return {
        f"test{i}.png": [
            ", ".join([words.entities[s], words.relations[r], words.entities[o]])
            for s, r, o in tiny_data.draw("test", i).queries()[0]
        ]
        for i in range(NUM_IMAGES)
    }


def assert_same(one, other):
    """Equal lines, but for the last digit of rounded numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if "box" in name or "score" in name:
                np.testing.assert_allclose(value, other[name], atol=0.0101 if "box" in name else 1.01e-5, err_msg=name)
            else:
                assert_same(value, other[name])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other):
            assert_same(*pair)
    else:
        assert one == other


def test_predictions_are_the_answers_of_the_model(saved_model, data_dir, tmp_path):
    out = str(tmp_path / "out")
    printed = run(saved_model=saved_model, data_dir=data_dir, split="test", output_dir=out, num_shards=3, batch_size=2)
    assert sorted(os.listdir(out)) == [
        *[f"predictions-0000{i}-of-00003.jsonl" for i in range(3)],
        "predictions.json",
        "settings.json",
    ]
    refer = tf.saved_model.load(os.path.join(saved_model, "3")).signatures["refer"]
    triplets, found = all_triplets(), lines(out)
    assert [line["image"] for line in found] == list(triplets)
    for index, line in enumerate(found):
        assert [answer["query"] for answer in line["answers"]] == triplets[line["image"]]
        for answer in line["answers"]:
            words = dict(zip(QUERY_PARTS, answer["query"].split(", ")))
            expected = {
                name: value.numpy()[0]
                for name, value in refer(
                    image=tf.constant([tiny_data.draw("test", index).image]),
                    **{part: tf.constant([[word]]) for part, word in words.items()},
                ).items()
            }
            for role in ROLES:
                np.testing.assert_allclose(answer[f"{role}_box"], expected[f"{role}_box"][0], atol=0.01)
                np.testing.assert_allclose(answer[f"{role}_score"], expected[f"{role}_score"][0], atol=1e-5)
                chosen = np.flatnonzero(expected[f"{role}_mask"][0])
                scores = expected[f"{role}_scores"][0, chosen]
                order = np.argsort(-scores)
                np.testing.assert_allclose(answer[f"{role}_scores"], scores[order], atol=1e-5)
                np.testing.assert_allclose(answer[f"{role}_boxes"], expected["boxes"][chosen[order]], atol=0.01)
    counted, total = summary(out), sum(map(len, triplets.values()))
    assert (counted["num_images"], counted["num_answered_images"], counted["errors"]) == (NUM_IMAGES, NUM_IMAGES, {})
    assert counted["num_queries"] == counted["num_answered_queries"] == total
    assert counted["last_run"]["images"] == NUM_IMAGES and counted["last_run"]["images_per_second"] > 0
    assert f"7 of 7 images, {total} of their {total} queries answered in 3 files" in printed


def test_a_folder_is_answered_as_the_prepared_set_in_batches_of_any_size(
    saved_model, data_dir, photos, tmp_path, monkeypatch
):
    asked(tmp_path / "queries.json", all_triplets())
    with open(tmp_path / "queries.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({name: texts}) + "\n\n" for name, texts in all_triplets().items())
    run(
        saved_model=saved_model,
        data_dir=data_dir,
        split="test",
        output_dir=tmp_path / "prepared",
        batch_size=1,
        num_shards=2,
    )
    monkeypatch.setattr(exported_lib, "QUERIES_AT_ONCE", 3)  # Fewer than some images have.
    for kind in ("json", "jsonl"):
        run(
            saved_model=saved_model,
            images=photos,
            queries=tmp_path / f"queries.{kind}",
            output_dir=tmp_path / kind,
            batch_size=5,
            num_shards=1,
        )
        assert_same(lines(tmp_path / kind), lines(tmp_path / "prepared"))
    assert max(map(len, all_triplets().values())) > 3


def test_what_is_wrong_stays_with_its_image_and_query(saved_model, photos, tmp_path):
    names = [f"test{i}.png" for i in range(NUM_IMAGES)]
    run(
        saved_model=saved_model,
        images=photos,
        queries=asked(tmp_path / "good.json", dict.fromkeys(names, QUERIES)),
        output_dir=tmp_path / "good",
    )
    expected = {line["image"]: line["answers"] for line in lines(tmp_path / "good")}

    (photos / "test1.png").write_bytes((photos / "test1.png").read_bytes()[:900])
    (photos / "test2.png").write_bytes(b"no image")
    (photos / "gone.png").mkdir()
    wrong = ["zebra, left, red disc", "red disc, left", ", ,", "red disc, besides, red disc"]
    queries = {
        **dict.fromkeys(names, QUERIES),
        "test4.png": [QUERIES[0], *wrong, QUERIES[1]],
        "test5.png": [],
        "gone.png": QUERIES,
        "lost.png": QUERIES,
    }
    printed = run(
        saved_model=saved_model,
        images=photos,
        queries=asked(tmp_path / "bad.json", queries),
        output_dir=tmp_path / "bad",
    )
    found = {line.pop("image"): line for line in lines(tmp_path / "bad")}
    for name in ("test0.png", "test3.png", "test6.png"):
        assert_same(found[name], {"answers": expected[name]})
    assert found["test5.png"] == {"answers": []}
    assert found["test1.png"] == {"error": {"kind": "bad_image", "message": "is damaged"}}
    assert found["test2.png"]["error"]["message"] == "is not a JPEG, PNG or WebP file: it has 8 bytes"
    assert found["gone.png"] == {"error": {"kind": "missing_image", "message": "Is a directory"}}
    assert found["lost.png"] == {"error": {"kind": "missing_image", "message": "it is not in the folder"}}
    answers = found["test4.png"]["answers"]
    assert [answer["query"] for answer in answers] == queries["test4.png"]
    assert_same([answers[0], answers[-1]], expected["test4.png"])
    three = 'a query is "subject, relation, object", three parts with commas between them;'
    assert [answer["error"]["message"] for answer in answers[1:-1]] == [
        "unknown subject: zebra",
        f"{three} 'red disc, left' has 2",
        f"{three} ', ,' has 0",
        "unknown relation: besides",
    ]
    counted = summary(tmp_path / "bad")
    assert (counted["num_images"], counted["num_answered_images"]) == (9, 5)
    assert (counted["num_queries"], counted["num_answered_queries"]) == (12, 8)
    assert counted["errors"]["bad_image"] == {
        "count": 2,
        "first": ["test1.png: is damaged", "test2.png: is not a JPEG, PNG or WebP file: it has 8 bytes"],
    }
    assert {kind: entry["count"] for kind, entry in counted["errors"].items()} == {
        "bad_image": 2,
        "bad_query": 4,
        "missing_image": 2,
    }
    assert "test4.png, query 'zebra, left, red disc': unknown subject: zebra" in printed

    for output_dir in ("bad", "strict"):  # Finished before, and new.
        with pytest.raises(ValueError, match=r"^bad_image: test1.png: is damaged \(--strict\)"):
            run(
                saved_model=saved_model,
                images=photos,
                queries=tmp_path / "bad.json",
                output_dir=tmp_path / output_dir,
                strict=True,
            )
    with pytest.raises(ValueError, match="(?s)nothing could be answered:.*bad_image 1: .*test2.png: is not a JPEG"):
        run(
            saved_model=saved_model,
            images=photos,
            queries=asked(tmp_path / "none.json", {"test2.png": QUERIES}),
            output_dir=tmp_path / "none",
        )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_killed_command_goes_on_with_the_shards_that_are_missing(saved_model, photos, tmp_path):
    queries = asked(tmp_path / "queries.json", {f"test{i}.png": QUERIES for i in range(NUM_IMAGES)})
    arguments = {"saved_model": saved_model, "images": photos, "queries": queries, "num_shards": 3, "batch_size": 1}
    run(**arguments, output_dir=tmp_path / "whole")

    # Reading a pipe waits for a writer: the command stops in the middle of the second shard.
    stuck, killed = photos / "test3.png", tmp_path / "killed"
    image = stuck.read_bytes()
    stuck.unlink()
    os.mkfifo(stuck)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dsg_tf.predict",
            *[f"--{name}={value}" for name, value in arguments.items()],
            f"--output_dir={killed}",
        ],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(killed.glob("predictions-00001-of-00003.tmp*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    first = killed / "predictions-00000-of-00003.jsonl"
    assert list(killed.glob("*.jsonl")) != [first] and not (killed / "predictions.json").exists()

    stuck.unlink()
    stuck.write_bytes(image)
    written = first.stat().st_mtime_ns
    run(**arguments, output_dir=killed)
    assert first.stat().st_mtime_ns == written
    for name in ("settings.json", *[f"predictions-0000{i}-of-00003.jsonl" for i in range(3)]):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir(killed)) == sorted(os.listdir(tmp_path / "whole"))
    counted = summary(killed)
    assert counted["num_answered_images"] == NUM_IMAGES and counted["last_run"]["images"] == 5
    run(**arguments, output_dir=killed)  # There is nothing left to do.
    assert summary(killed) == counted


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


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"a.png": "red square, left, red disc"}', "line 1: the queries of a.png must be a list of texts"),
        ('{"a.png": []}\n{"b.png": [], "a.png": []}', "line 2: a.png for the second time"),
        ('{"a.png": []}\n{"b.png": [', "line 2 is not valid JSON"),
        ('["a.png"]', "line 1 must be an object {image: queries}, not a list"),
        ("\n", "names no image"),
    ],
)
def test_queries_of_another_form_are_refused(content, message, photos, tmp_path):
    (tmp_path / "queries.jsonl").write_text(content)
    with pytest.raises(PreparationError, match=f"queries.jsonl.*{message}"):
        ImageFolder.load(str(photos), str(tmp_path / "queries.jsonl"))


def test_what_does_not_fit_is_told_at_once(saved_model, data_dir, photos, tmp_path):
    given = {"saved_model": saved_model, "output_dir": tmp_path / "out"}
    with pytest.raises(app.UsageError, match="--images and --queries are needed; given: --data_dir, --queries"):
        run(**given, data_dir=data_dir, queries="q.json")
    with pytest.raises(app.UsageError, match="given: none of them"):
        run(**given)
    with pytest.raises(app.UsageError, match="--beam_options=--x=1 has no effect without --runner"):
        run(**given, data_dir=data_dir, split="test", beam_options="--x=1")
    with pytest.raises(ValueError, match="has no split 'val', only test"):
        run(**given, data_dir=data_dir, split="val")
    with pytest.raises(ValueError, match="--num_shards=8 are too many for 7 images"):
        run(**given, data_dir=data_dir, split="test", num_shards=8)
    with pytest.raises(FileNotFoundError, match=f"--saved_model={photos} has no saved_model.pb, nor versions"):
        run(**{**given, "saved_model": photos}, data_dir=data_dir, split="test")
    queries = asked(tmp_path / "queries.json", {"a.png": []})
    for name in ("saved_model", "images", "queries"):
        with pytest.raises(FileNotFoundError, match=f"^--{name}={tmp_path}/no is not there$"):
            run(**{**given, "images": photos, "queries": queries, name: tmp_path / "no"})
    with pytest.raises(FileNotFoundError, match=f"^--data_dir={tmp_path}/no is not there$"):
        run(**given, data_dir=tmp_path / "no", split="test")
    with pytest.raises(PreparationError, match="the image folder is not there"):
        run(**given, images=queries, queries=queries)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ValueError, match="has no signature answer and encode, only none"):
        run(**{**given, "saved_model": tmp_path / "other"}, data_dir=data_dir, split="test")
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_a_damaged_record_file_is_named(data_dir, tmp_path):
    requests = PreparedSplit.load(data_dir, "test")
    path, count = requests.shards[0]
    damaged = tmp_path / "damaged.tfrecord"
    with open(path, "rb") as file:
        damaged.write_bytes(file.read()[:-40])
    cut = PreparedSplit({}, requests.vocabulary, ((str(damaged), count),), 0, count)
    with pytest.raises(ValueError, match=f"{damaged} is damaged: "):
        list(cut)
