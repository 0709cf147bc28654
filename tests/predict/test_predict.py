"""Batch inference: the exported model's answers for every image, whatever is wrong with the others."""

import json
import os
import shutil

import commands
import numpy as np
import pytest
import tensorflow as tf
import tiny_data
from predictions import NUM_IMAGES, QUERIES, all_triplets, asked, assert_same, lines, rows, run, summary

from dsg_tf.data.roles import QUERY_PARTS, ROLES
from dsg_tf.predict import asked as asked_lib


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
