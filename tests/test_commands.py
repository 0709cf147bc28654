"""train.py and eval.py as a user runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import html_pages
import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from commands import ENVIRONMENT, ROOT, SETTINGS, STEPS, last_step, read_to_end, read_to_step, run, start
from PIL import Image

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.records import DatasetInfo

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    tiny_data.write(folder)
    return folder


@pytest.fixture(scope="module")
def trained(data_dir, tmp_path_factory):
    """The model directory of a run with validation on the way, which was stopped once and went on."""
    model_dir = str(tmp_path_factory.mktemp("run"))
    settings = {**SETTINGS, "data_dir": data_dir, "model_dir": model_dir, "eval_steps": 8}
    with start("train.py", **settings) as process:
        read_to_step(process, 10)
        process.send_signal(signal.SIGTERM)
        output = read_to_end(process)
    sentence = re.search(r"^train\.py: stopped at step (\d+); resume with the same command\n\Z", output, re.MULTILINE)
    assert process.returncode == 0 and sentence and "Traceback" not in output, output[-3000:]
    assert 10 <= int(sentence[1]) < STEPS and last_step(model_dir) == int(sentence[1])
    done = run("train.py", **settings)
    assert done.returncode == 0 and f"resuming after step {sentence[1]} from" in done.stderr, done.stderr[-3000:]
    assert [line.split()[0] for line in done.stdout.splitlines()[-3:]] == ["split", "val", "test"]
    return model_dir


def read_json(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return json.load(file)


def test_training_writes_results_figures_and_validation(trained, data_dir):
    info = DatasetInfo.load(data_dir)
    for split in ("val", "test"):
        summary = read_json(trained, f"eval_{split}.json")
        assert summary["num_queries"] == info.splits[split].num_queries
        for name in ("sample", "worst"):
            with Image.open(os.path.join(trained, "figures", f"{split}_{name}.png")) as picture:
                assert min(picture.size) > 200
        with open(os.path.join(trained, f"report_{split}.html"), encoding="utf-8") as file:
            report = html_pages.check(file.read())
        assert report.numbers("Scores", "queries")["subject"] == summary["num_queries"]
    events = {}
    for name in os.listdir(os.path.join(trained, "val")):
        for event in tf.compat.v1.train.summary_iterator(os.path.join(trained, "val", name)):
            for value in event.summary.value:
                events.setdefault(value.tag, []).append(event.step)
    assert {"metric/subject_iou", "metric/object_iou", "metric/proposal_recall", "sample", "worst"} <= set(events)
    assert all(sorted(steps) == [8, 16] for steps in events.values()), events


def test_eval_writes_the_documented_keys(trained, data_dir):
    before = read_json(trained, "eval_test.json")
    os.remove(os.path.join(trained, "eval_test.json"))
    done = run("eval.py", model_dir=trained, split="test")
    assert done.returncode == 0, done.stderr[-3000:]
    summary = read_json(trained, "eval_test.json")
    split = DatasetInfo.load(data_dir).splits["test"]
    assert set(summary) == {
        "split",
        "step",
        "subject_iou",
        "subject_iou_stderr",
        "object_iou",
        "object_iou_stderr",
        "num_queries",
        "num_images",
        "proposal_recall",
        "answer_probability",
        "seconds_per_image",
        *(
            f"{prefix}_{role}{suffix}"
            for role in ("subject", "object")
            for prefix, suffix in (("num_ambiguous", ""), ("ambiguous", "_iou"), ("ambiguous", "_iou_stderr"))
        ),
    }
    assert (summary["split"], summary["step"], summary["num_images"]) == ("test", STEPS, 5)
    of_absent = summary["answer_probability"]
    assert set(of_absent) == {"all", "other_relation", "absent_class"}
    assert of_absent["all"]["num_true"] == split.num_queries and 0 <= of_absent["all"]["auroc"] <= 1
    assert "trained without --contrastive_queries" in done.stderr
    assert summary["num_queries"] == split.num_queries  # Batches of 3: the last is padded.
    for name in ("subject_iou", "object_iou", "subject_iou_stderr", "object_iou_stderr", "proposal_recall"):
        assert summary[name] == pytest.approx(before[name], abs=1e-6), name
        assert 0 < summary[name] < 1
    assert f"{summary['subject_iou']:.4f} ± {summary['subject_iou_stderr']:.4f}" in done.stdout


def test_eval_calibrates_a_run_and_no_packed_model(trained, tmp_path):
    copy = shutil.copytree(trained, str(tmp_path / "run"))
    before = read_json(copy, "eval_val.json")
    done = run("eval.py", model_dir=copy, split="val", calibrate="true")
    assert done.returncode == 0, done.stderr[-3000:]
    after, found = read_json(copy, "eval_val.json"), read_json(copy, "calibration.json")
    assert found["step"] == STEPS and found["queries"] == sum(
        after["answer_probability"]["all"][name] for name in ("num_true", "num_contrastive")
    )
    assert found["shift"] != 0 and after["subject_iou"] == pytest.approx(before["subject_iou"], abs=1e-6)
    errors = [summary["answer_probability"]["all"]["calibration_error"] for summary in (before, after)]
    assert errors[1] != pytest.approx(errors[0], abs=1e-3)
    refused = run("eval.py", model_dir="models/clevr", split="val", calibrate="true")
    assert refused.returncode == 1 and "--calibrate: --model_dir=models/clevr is packed" in refused.stderr


@pytest.fixture
def photo(tmp_path):
    """A picture larger than the network's input, in another shape: (path, height, width)."""
    path, height, width = str(tmp_path / "photo.jpg"), 600, 440
    with open(path, "wb") as file:
        file.write(tiny_data.draw("test", 3).image)
    with Image.open(path) as picture:
        picture.convert("RGB").resize((width, height)).save(path, "JPEG")
    return path, height, width


def test_eval_answers_about_a_photo(trained, photo, tmp_path):
    path, height, width = photo
    queries = ["red square, left, Blue  disc", "green square, above, red disc"]
    output = str(tmp_path / "answers" / "out.png")
    done = run("eval.py", model_dir=trained, image=path, query=queries, output=output)
    assert done.returncode == 0, done.stderr[-3000:]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["query"] for answer in answers] == queries
    for answer in answers:
        assert 0 < answer["answer_probability"] < 1
        for role in ("subject", "object"):
            boxes, scores = np.array(answer[f"{role}_boxes"]), np.array(answer[f"{role}_scores"])
            assert boxes.shape == (len(scores), 4) and len(scores) >= 1
            assert (boxes >= 0).all() and (boxes <= [height, width, height, width]).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
            assert (scores[:-1] >= scores[1:]).all() and (scores > 0).all() and (scores < 1).all()
    # The network's input is 64 x 96 pixels: these are pixels of the photo.
    assert max(np.max(answer[f"{role}_boxes"]) for answer in answers for role in ("subject", "object")) > 96
    with Image.open(output) as picture:
        assert picture.format == "PNG" and picture.width > picture.height > 400  # Two panels beside each other.


def test_a_threshold_is_for_a_photo(trained):
    done = run("eval.py", model_dir=trained, threshold=0.3)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "eval.py: --query, --output and --threshold go with --image"


def test_an_unknown_word_is_one_line_with_near_matches(trained, photo):
    done = run("eval.py", model_dir=trained, image=photo[0], query="red sqare, left, blue disc")
    assert done.returncode == 1 and not done.stdout
    assert "Traceback" not in done.stderr
    assert (
        done.stderr.splitlines()[-1] == "eval.py: unknown subject 'red sqare': "
        "did you mean 'red square' or 'green square' or 'blue square'?"
    )


@pytest.mark.parametrize("script, flag", [("train.py", "--batch_size"), ("eval.py", "--query")])
def test_help_lists_the_flags(script, flag):
    done = subprocess.run(
        [sys.executable, os.path.join(ROOT, script), "--help"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert flag in done.stdout and "--[no]debug" in done.stdout and "Traceback" not in done.stderr


def test_an_unknown_flag_is_an_error(tmp_path):
    done = run("train.py", batch_sise=4, model_dir=str(tmp_path / "run"))
    assert done.returncode == 1 and "Unknown command line flag 'batch_sise'" in done.stderr
    assert not (tmp_path / "run").exists()


def test_train_refuses_another_setting_in_one_line(tmp_path, data_dir):
    config = tiny.config(**{**SETTINGS, "data_dir": data_dir, "model_dir": str(tmp_path)})
    config_lib.save(config, str(tmp_path))
    checkpoints.save_vocabulary(str(tmp_path), tiny_data.VOCABULARY)
    before = files_in(tmp_path)
    done = run("train.py", **{**SETTINGS, "feature_size": 13}, data_dir=data_dir, model_dir=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "--feature_size was 12, now 13" in done.stderr.splitlines()[-1]
    assert files_in(tmp_path) == before


def files_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
