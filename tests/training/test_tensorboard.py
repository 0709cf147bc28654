"""What a run writes for TensorBoard: waiting, scores in curves and histograms, texts."""

from __future__ import annotations

import dataclasses

import event_files
import logged_runs
import numpy as np
import pytest
import tensorflow as tf
import tiny_data

from dsg_tf.objectives import score_bins
from dsg_tf.process import provenance
from dsg_tf.training import tensorboard


def test_the_share_of_waiting_is_that_of_the_time_since_the_last_call(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(tensorboard.time, "monotonic", lambda: now[0])

    def slow():
        for number in range(10):
            now[0] += 0.3
            yield number

    batches = tensorboard.Watched(slow(), first_step=4)
    for step in (5, 6):
        assert next(batches) == step - 5
        now[0] += 0.7
    assert batches.speed(6) == pytest.approx({"input/step_milliseconds": 1000.0, "input/wait_share": 0.3})
    next(batches), next(batches)  # Two parts of one step.
    now[0] += 1.8
    assert batches.speed(7) == pytest.approx({"input/step_milliseconds": 2400.0, "input/wait_share": 0.25})


def test_a_validation_writes_curves_and_histograms(logged):
    found = event_files.read(logged / "dsg_seed0" / "val")
    for plugin in ("pr_curves", "histograms"):
        for tag in found.PluginTagToContent(plugin):
            assert list(event_files.tensors(found, tag)) == [logged_runs.STEP], tag
    assert set(found.PluginTagToContent("histograms")) == {
        f"score/{name}"
        for name in (
            "subject_true",
            "subject_other",
            "object_true",
            "object_other",
            "proposal_true",
            "proposal_other",
            "right_class",
        )
    }
    labels = [
        *(f"entity/{name}" for name in tiny_data.VOCABULARY.entities),
        *(f"relation/{name}" for name in tiny_data.VOCABULARY.relations),
    ]
    curves = {tag.removesuffix("/pr_curves") for tag in found.PluginTagToContent("pr_curves")}
    assert {"role/subject", "role/object"} < curves <= {"role/subject", "role/object", *labels}
    assert any(name.startswith("entity/") for name in curves) and any(name.startswith("relation/") for name in curves)


def test_the_numbers_written_are_the_counts(tmp_path):
    rng = np.random.default_rng(4)
    counts = {
        "subject": rng.integers(0, 9, [1, 2, 101]),
        "object": rng.integers(0, 9, [1, 2, 101]),
        "entity": rng.integers(0, 9, [5, 2, 101]),
        "relation": rng.integers(0, 9, [4, 2, 101]),
        "entity_truth": np.array([3, 0, 9, 1, 1]),
        "relation_truth": np.array([0, 2, 0, 0]),
    }
    counts["object"][0, 0, :30] = 0
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        tensorboard.write_scores(counts, tiny_data.VOCABULARY, step=3)
    found = event_files.read(tmp_path)
    curve = event_files.tensors(found, "entity/blue square/pr_curves")[3]
    expected = score_bins.precision_recall(counts["entity"][2])
    np.testing.assert_allclose(curve, np.stack(list(expected.values())), rtol=1e-6)
    assert {tag for tag in found.PluginTagToContent("pr_curves") if tag.startswith(("entity", "relation"))} == {
        f"{name}/pr_curves"
        for name in ("entity/red square", "entity/blue square", "entity/red disc", "entity/blue disc", "relation/right")
    }  # None without ground truth.
    left, right, number = event_files.tensors(found, "score/object_other")[3].T
    assert left[0] == pytest.approx(0.3) and right[-1] == 1.0
    np.testing.assert_allclose(right - left, 0.01)
    np.testing.assert_array_equal(number[:-1], counts["object"][0, 0, 30:99])
    assert number[-1] == counts["object"][0, 0, 99:].sum()


def test_only_the_most_frequent_classes_have_curves(tmp_path):
    vocabulary = dataclasses.replace(tiny_data.VOCABULARY, entities=tuple(f"thing {k}" for k in range(30)))
    truth = np.array([k % 15 for k in range(30)])
    counts = {"entity": np.ones([30, 2, 101], int), "entity_truth": truth}
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        tensorboard.write_scores(counts, vocabulary, step=1)
    wanted = {f"entity/thing {k}/pr_curves" for k in (14, 29, 13, 28, 12, 27, 11, 26, 10, 25)}
    assert set(event_files.read(tmp_path).PluginTagToContent("pr_curves")) == wanted


def test_texts_tell_program_and_data(logged):
    found = event_files.read(logged / "dsg_seed0" / "train")
    text = {tag: event_files.tensors(found, tag)[0].item().decode() for tag in found.PluginTagToContent("text")}
    assert set(text) == {"config", "program", "data"}
    assert "| learning_rate | 0.01 |" in text["config"]
    assert f"| TensorFlow | {tf.__version__} |" in text["program"] and "| Model Garden | 2." in text["program"]
    assert f"| command | {provenance.command()} |" in text["program"]
    lines = [line for line in text["data"].splitlines() if line.startswith("| test |")]
    assert lines and lines[0].startswith("| test | 5 | ")
    assert "5 entity classes: red square, green square" in text["data"]


def test_a_bar_does_not_end_a_cell_of_a_table():
    assert tensorboard._as_table("name", {"a": "x|y"}).splitlines()[-1] == r"| a | x\|y |"
