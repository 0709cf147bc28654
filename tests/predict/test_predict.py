"""Batch inference: the exported model's answers for every image, whatever is wrong with the others."""

import contextlib
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import threading
import time

import commands
import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from absl import app

from dsg_tf.data.problems import PreparationError
from dsg_tf.data.roles import QUERY_PARTS, ROLES
from dsg_tf.predict import asked as asked_lib
from dsg_tf.predict import command
from dsg_tf.predict import exported_model as exported_lib
from dsg_tf.predict import shards as run_lib
from dsg_tf.predict import summary as summary_lib
from dsg_tf.predict.requests import ImageFolder, PreparedSplit

QUERIES = ["red square, left, blue disc", "Blue  Disc,above, green square"]
NUM_IMAGES = 7
needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
needs_beam = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam: pip install -e '.[beam]'"
)


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
    """What the command prints; it runs in this process."""
    values = commands.parsed(command.define_flags, [f"--{name}={value}" for name, value in arguments.items()])
    return summary_lib.text(command.predict(values), values.output_dir)


def asked(path, queries) -> str:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(queries, file)
    return str(path)


def lines(folder) -> list[dict]:
    return [line for path in sorted(pathlib.Path(folder).glob("predictions-*.jsonl")) for line in rows(path)]


def rows(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


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
        "lock",
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
    monkeypatch.setattr(asked_lib, "AT_ONCE", 3)  # Fewer than some images have.
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
    example = "ask such as 'red square, left, blue disc'"
    assert [answer["error"]["message"] for answer in answers[1:-1]] == [
        "unknown subject 'zebra'; the vocabulary has red square, green square, blue square, red disc, blue disc",
        f"'red disc, left' has no object after 'left': {example}",
        f"', ,' has no words: {example}",
        "unknown relation 'besides'; the vocabulary has left, right, above, below",
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
    assert "test4.png, query 'zebra, left, red disc': unknown subject 'zebra'; the vocabulary has" in printed
    errors = rows(tmp_path / "bad" / "errors.jsonl")
    assert len(errors) == 8 and printed.endswith(f"all that has no answer: {tmp_path}/bad/errors.jsonl")
    assert {"image": "test1.png", "kind": "bad_image", "message": "is damaged"} in errors
    assert [error["query"] for error in errors if error["kind"] == "bad_query"] == wrong
    assert not (tmp_path / "good" / "errors.jsonl").exists()

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


@pytest.mark.process
def test_the_exit_code_tells_whether_all_has_an_answer(saved_model, photos, tmp_path):
    arguments = {"saved_model": saved_model, "images": photos, "output_dir": tmp_path / "out"}
    for queries, code, counts in (
        ({"test0.png": [QUERIES[0], "zebra, left, red disc"]}, 3, "1 of 1 images, 1 of their 2 queries"),
        ({"test0.png": QUERIES, "lost.png": QUERIES}, 3, "1 of 2 images, 2 of their 2 queries"),
        ({"lost.png": QUERIES}, 1, None),
        ({"test0.png": QUERIES}, 0, "1 of 1 images, 2 of their 2 queries"),
    ):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        done = commands.run("dsg_tf.predict", **arguments, queries=asked(tmp_path / "queries.json", queries))
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        assert counts in done.stdout if counts else "predict: nothing could be answered" in done.stderr
    # Finished, and all is answered.
    again = commands.run("dsg_tf.predict", **arguments, queries=tmp_path / "queries.json", strict=True)
    assert again.returncode == 0


def test_a_checkpoint_answers_as_its_export(saved_model, model_dir, photos, tmp_path):
    (photos / "test1.png").write_bytes(b"no image")
    queries = {f"test{i}.png": [*QUERIES, "zebra, left, red disc"] for i in range(NUM_IMAGES)}
    given = {"images": photos, "queries": asked(tmp_path / "queries.json", queries)}
    for kind, size in (("one", 1), ("three", 3)):
        run(model=model_dir, **given, output_dir=tmp_path / kind, batch_size=size)
    run(saved_model=saved_model, **given, output_dir=tmp_path / "export")
    assert_same(lines(tmp_path / "one"), lines(tmp_path / "three"))
    for line, other in zip(lines(tmp_path / "one"), lines(tmp_path / "export")):
        if "error" in line:
            assert line["image"] == "test1.png" and "not a JPEG or PNG image" in line["error"]["message"]
        else:
            assert "unknown subject 'zebra'" in line["answers"].pop()["error"]["message"]
            other["answers"].pop()
            for answer, expected in zip(line["answers"], other["answers"]):
                for role in ROLES:
                    np.testing.assert_allclose(answer[f"{role}_scores"], expected[f"{role}_scores"], atol=1e-3)
                    np.testing.assert_allclose(answer[f"{role}_boxes"], expected[f"{role}_boxes"], atol=0.05)
    counted = summary(tmp_path / "one")
    assert counted["model"].startswith(f"{os.path.basename(model_dir)} sha256:") and "saved_model" not in counted
    assert counted["model_path"] == os.path.abspath(model_dir)
    with pytest.raises(ValueError, match="holds other predictions: model was 'model sha256:.*, now None; saved_model"):
        run(saved_model=saved_model, **given, output_dir=tmp_path / "one")
    with pytest.raises(ValueError, match=r"bad_query: test0.png, .*'zebra'.*\(--strict\)"):
        run(model=model_dir, **given, output_dir=tmp_path / "strict", strict=True)


def test_either_an_export_or_any_model_is_named(saved_model, data_dir, tmp_path):
    given = {"data_dir": data_dir, "split": "test", "output_dir": tmp_path / "out"}
    with pytest.raises(app.UsageError, match="either --saved_model or --model is needed; given: neither"):
        run(**given)
    with pytest.raises(app.UsageError, match=f"given: --saved_model={saved_model} --model=clevr"):
        run(**given, saved_model=saved_model, model="clevr")
    with pytest.raises(FileNotFoundError, match="'celvr' is no model"):
        run(**given, model="celvr")


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
