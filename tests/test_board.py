"""What TensorBoard gets, and what it serves: numbers against slow literal references, a real server, a real browser."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata as hparams

import tiny
import tiny_data
from dsg_tf import board, build, evaluation, files, program, running, scores, sessions
from dsg_tf.data.records import DatasetInfo

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STEP = 5


def reference_bins(rows) -> np.ndarray:
    """Counts of (score, whether it is true), one by one."""
    bins = np.zeros([2, 101], int)
    for score, is_true in rows:
        bins[int(is_true), max(k for k in range(101) if score >= np.float32(k) / np.float32(100))] += 1
    return bins


def scores_between_bins(rng, shape):
    """Never at the edge of a bin, where rounding decides."""
    return ((rng.integers(0, 100, shape) + rng.uniform(0.1, 0.9, shape)) / 100).astype(np.float32)


def test_bins_are_those_of_counting_one_by_one():
    rng = np.random.default_rng(0)
    values, is_true = scores_between_bins(rng, [4, 5, 3]), rng.random([4, 5, 3]) < 0.4
    values[0, 0], values[0, 1] = 0.0, 1.0
    counts = rng.random([4, 5, 1]) < 0.8
    counts[0] = True
    found = scores.in_bins(tf.constant(values), tf.constant(is_true), tf.constant(counts)).numpy()
    for label in range(3):
        kept = counts[..., 0]
        np.testing.assert_array_equal(found[label], reference_bins(
            zip(values[kept][:, label], is_true[kept][:, label])))
    assert found[:, :, 100].sum() == 3 and found.sum() == 3 * counts.sum()


def test_a_probability_above_one_by_rounding_counts_as_one():
    found = scores.in_bins(tf.constant([[1.0000001]]), tf.constant([[True]]), tf.constant([[True]])).numpy()
    assert found[0, 1, 100] == 1 and found.sum() == 1


def test_precision_and_recall_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    values, is_true = scores_between_bins(rng, [300]) * 0.9, rng.random(300) < 0.3
    found = scores.precision_recall(reference_bins(zip(values, is_true)))
    for k in range(101):
        yes = values >= k / 100
        right, wrong = sum(yes & is_true), sum(yes & ~is_true)
        expected = {"true_positive_counts": right, "false_positive_counts": wrong,
                    "true_negative_counts": sum(~yes & ~is_true), "false_negative_counts": sum(~yes & is_true),
                    "precision": right / (right + wrong) if right + wrong else 0, "recall": right / sum(is_true)}
        assert {name: value[k] for name, value in found.items()} == pytest.approx(expected), k
    assert found["precision"][100] == 0 < found["precision"][0]
    assert not scores.precision_recall(np.zeros([2, 101], int))["recall"].any()


def iou(first, second):
    height, width = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return height * width / (area(first) + area(second) - height * width)


def made_up(rng):
    """A batch of three images, of which the last is fill, and outputs whose boxes are ground truth, moved or not."""
    settings = tiny.config()
    batch = {name: value.numpy() for name, value in tiny.batch(settings, 3).items()}
    batch["example_mask"] = np.array([True, True, False])
    for name in ("box_mask", "query_mask", "subject_of", "object_of"):
        batch[name][2] = False
    batch["relations"][2] = -1
    num_boxes = 6
    proposals = np.tile(batch["boxes"][:, :1], [1, num_boxes, 1])
    proposals[:, 1:4] = batch["boxes"][:, 1:4] + rng.uniform(-3, 3, [3, 3, 4])
    proposals[:, 4:] = batch["boxes"][:, :2] + [0, 8, 0, 8]
    logits = lambda *shape: rng.normal(size=[3, *shape]).astype(np.float32)
    outputs = {"proposals": proposals.astype(np.float32), "valid": rng.random([3, num_boxes]) < 0.9,
               "proposal_scores": scores_between_bins(rng, [3, num_boxes]),
               "subject_scores": scores_between_bins(rng, [3, settings.max_queries, num_boxes]),
               "object_scores": scores_between_bins(rng, [3, settings.max_queries, num_boxes]),
               "entity_logits": logits(num_boxes, tiny.NUM_ENTITIES),
               "relation_logits": logits(num_boxes, num_boxes, tiny.NUM_RELATIONS)}
    return outputs, batch


def test_counts_of_a_batch_are_those_of_counting_one_by_one():
    outputs, batch = made_up(np.random.default_rng(2))
    found = {name: value.numpy() for name, value in scores.count(
        {k: tf.constant(v) for k, v in outputs.items()}, {k: tf.constant(v) for k, v in batch.items()}).items()}
    entity_probability = tf.nn.softmax(outputs["entity_logits"]).numpy()
    relation_probability = tf.sigmoid(outputs["relation_logits"]).numpy()

    rows: dict = {}
    note = lambda name, score, is_true: rows.setdefault(name, []).append((score, is_true))
    for image in range(3):
        truth = [box for box in range(5) if batch["box_mask"][image, box]]
        box_of, is_off = {}, set()
        for i, proposal in enumerate(outputs["proposals"][image]):
            overlaps = {box: iou(proposal, batch["boxes"][image, box]) for box in truth}
            best = max(overlaps, key=overlaps.get) if truth else None
            if not outputs["valid"][image, i]:
                continue
            if truth and overlaps[best] >= 0.5:
                box_of[i] = best
            if not truth or overlaps[best] < 0.3:
                is_off.add(i)
            if batch["example_mask"][image]:
                note("proposal", outputs["proposal_scores"][image, i], i in box_of)
        for query, role in itertools.product(range(3), ("subject", "object")):
            if batch["query_mask"][image, query]:
                for i in {*box_of, *is_off}:
                    note(role, outputs[f"{role}_scores"][image, query, i],
                         i in box_of and batch[f"{role}_of"][image, query, box_of[i]])
        triplets = set(map(tuple, batch["relations"][image].tolist()))
        for i, box in box_of.items():
            for label in range(tiny.NUM_ENTITIES):
                note(("entity", label), entity_probability[image, i, label], batch["entities"][image, box] == label)
            note("right_class", entity_probability[image, i, batch["entities"][image, box]], True)
            for j, other in box_of.items():
                for label in range(tiny.NUM_RELATIONS):
                    note(("relation", label), relation_probability[image, i, j, label], (box, label, other) in triplets)
    for name in ("proposal", "subject", "object", ("relation", 0)):
        assert {bool(truth) for _, truth in rows[name]} == {False, True}, name
    for name, pairs in rows.items():
        kind, label = name if isinstance(name, tuple) else (name, 0)
        np.testing.assert_array_equal(found[kind][label], reference_bins(pairs), err_msg=str(name))
    true_entities = batch["entities"][batch["box_mask"]]
    np.testing.assert_array_equal(found["entity_truth"], np.bincount(true_entities, minlength=tiny.NUM_ENTITIES))
    relations = batch["relations"][:2, :-1, 1].reshape(-1)
    np.testing.assert_array_equal(found["relation_truth"], np.bincount(relations, minlength=tiny.NUM_RELATIONS))


def test_the_cells_of_maps_are_counted_against_the_true_mask():
    batch = {name: value.numpy() for name, value in tiny.batch(tiny.config(), 2).items()}
    maps = scores_between_bins(np.random.default_rng(3), [2, 3, 14, 14])
    found = scores.count({"subject_map": tf.constant(maps), "object_map": tf.constant(1 - maps)},
                         {k: tf.constant(v) for k, v in batch.items()})
    assert set(found) == {"subject", "object"}
    height, width = batch["image_size"][0]
    rows = []
    for image, query, y, x in np.ndindex(2, 3, 14, 14):
        if batch["query_mask"][image, query]:
            boxes = batch["boxes"][image][batch["subject_of"][image, query]] / [height, width, height, width] * 14
            covered = any(np.floor(b[0]) <= y < np.ceil(b[2]) and np.floor(b[1]) <= x < np.ceil(b[3]) for b in boxes)
            rows.append((maps[image, query, y, x], covered))
    np.testing.assert_array_equal(found["subject"][0], reference_bins(rows))


def test_the_share_of_waiting_is_that_of_the_time_since_the_last_call(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: now[0])

    def slow():
        for number in range(10):
            now[0] += 0.3
            yield number

    batches = board.Watched(slow(), first_step=4)
    for step in (5, 6):
        assert next(batches) == step - 5
        now[0] += 0.7
    assert batches.speed(6) == pytest.approx({"input/step_milliseconds": 1000.0, "input/wait_share": 0.3})
    next(batches), next(batches)  # Two parts of one step.
    now[0] += 1.8
    assert batches.speed(7) == pytest.approx({"input/step_milliseconds": 2400.0, "input/wait_share": 0.25})


@pytest.fixture(scope="module")
def logdir(tmp_path_factory):
    """Two runs of a comparison: validations of an untrained model, texts, scalars and the sessions."""
    folder = tmp_path_factory.mktemp("logs")
    tiny_data.write(str(folder / "data"))
    info = DatasetInfo.load(str(folder / "data"))
    for seed, learning_rate in ((0, 1e-2), (1, 1e-3)):
        config = tiny.config(data_dir=str(folder / "data"), model_dir=str(folder / f"runs/dsg_seed{seed}"), seed=seed,
                             learning_rate=learning_rate, score_threshold=0.0, num_boxes=64, nms_iou=0.9)
        if seed == 0:
            validation, model = running.Validation(config, info), tiny.model(config)
            validation(model, STEP)
            validation.writer.close()
        with tf.summary.create_file_writer(os.path.join(config.model_dir, "train")).as_default():
            board.write_run(config, info, step=0)
            for step in range(1, 9):
                tf.summary.scalar("input/wait_share", step / 10, step=step)
        found = {"step": 12, "subject_iou": 0.25 + seed, "object_iou": 0.5, "ambiguous_subject_iou": float("nan"),
                 "ambiguous_object_iou": None, "proposal_recall": 0.75}
        files.write_json(os.path.join(config.model_dir, "eval_val.json"), found)
        sessions.write(config, "val")
    shutil.rmtree(folder / "data")
    return folder / "runs"


def events(folder) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    return found.Reload()


def tensors(found: EventAccumulator, tag: str) -> dict[int, np.ndarray]:
    return {event.step: tf.make_ndarray(event.tensor_proto) for event in found.Tensors(tag)}


def test_a_validation_writes_curves_and_histograms(logdir):
    found = events(logdir / "dsg_seed0" / "val")
    for plugin in ("pr_curves", "histograms"):
        for tag in found.PluginTagToContent(plugin):
            assert list(tensors(found, tag)) == [STEP], tag
    assert set(found.PluginTagToContent("histograms")) == {
        f"score/{name}" for name in ("subject_true", "subject_other", "object_true", "object_other", "proposal_true",
                                     "proposal_other", "right_class")}
    labels = [*(f"entity/{name}" for name in tiny_data.VOCABULARY.entities),
              *(f"relation/{name}" for name in tiny_data.VOCABULARY.relations)]
    curves = {tag.removesuffix("/pr_curves") for tag in found.PluginTagToContent("pr_curves")}
    assert {"role/subject", "role/object"} < curves <= {"role/subject", "role/object", *labels}
    assert any(name.startswith("entity/") for name in curves) and any(name.startswith("relation/") for name in curves)


def test_the_numbers_written_are_the_counts(tmp_path):
    rng = np.random.default_rng(4)
    counts = {"subject": rng.integers(0, 9, [1, 2, 101]), "object": rng.integers(0, 9, [1, 2, 101]),
              "entity": rng.integers(0, 9, [5, 2, 101]), "relation": rng.integers(0, 9, [4, 2, 101]),
              "entity_truth": np.array([3, 0, 9, 1, 1]), "relation_truth": np.array([0, 2, 0, 0])}
    counts["object"][0, 0, :30] = 0
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        board.write_scores(counts, tiny_data.VOCABULARY, step=3)
    found = events(tmp_path)
    curve = tensors(found, "entity/blue square/pr_curves")[3]
    expected = scores.precision_recall(counts["entity"][2])
    np.testing.assert_allclose(curve, np.stack(list(expected.values())), rtol=1e-6)
    assert {tag for tag in found.PluginTagToContent("pr_curves") if tag.startswith(("entity", "relation"))} == {
        f"{name}/pr_curves" for name in ("entity/red square", "entity/blue square", "entity/red disc",
                                         "entity/blue disc", "relation/right")}  # None without ground truth.
    left, right, number = tensors(found, "score/object_other")[3].T
    assert left[0] == pytest.approx(0.3) and right[-1] == 1.0
    np.testing.assert_allclose(right - left, 0.01)
    np.testing.assert_array_equal(number[:-1], counts["object"][0, 0, 30:99])
    assert number[-1] == counts["object"][0, 0, 99:].sum()


def test_only_the_most_frequent_classes_have_curves(tmp_path):
    vocabulary = dataclasses.replace(tiny_data.VOCABULARY, entities=tuple(f"thing {k}" for k in range(30)))
    truth = np.array([k % 15 for k in range(30)])
    counts = {"entity": np.ones([30, 2, 101], int), "entity_truth": truth}
    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        board.write_scores(counts, vocabulary, step=1)
    wanted = {f"entity/thing {k}/pr_curves" for k in (14, 29, 13, 28, 12, 27, 11, 26, 10, 25)}
    assert set(events(tmp_path).PluginTagToContent("pr_curves")) == wanted


def test_an_evaluation_sums_counts_over_its_batches(tmp_path):
    tiny_data.write(str(tmp_path))
    info, config = DatasetInfo.load(str(tmp_path)), tiny.config(model="ss", data_dir=str(tmp_path))
    shards, spec = info.shard_paths(str(tmp_path), "test"), build.input_spec(config, info, "test", training=False)

    def model(batch, training):
        del training
        cells = tf.zeros([*batch["query_mask"].shape, 14, 14])
        return {"subject_map": cells, "object_map": cells}

    count = lambda outputs, batch: {"images": tf.reduce_sum(tf.cast(batch["example_mask"], tf.int32)),
                                    "shape": tf.shape(outputs["subject_map"])}
    result = evaluation.evaluate(model, shards, spec, 2, count=count)
    assert result.counts["images"] == 5 and result.counts["shape"][0] == 6  # Three batches of two.
    assert evaluation.evaluate(model, shards, spec, 2).counts == {}


def test_texts_tell_program_and_data(logdir):
    found = events(logdir / "dsg_seed0" / "train")
    text = {tag: tensors(found, tag)[0].item().decode() for tag in found.PluginTagToContent("text")}
    assert set(text) == {"config", "program", "data"}
    assert "| learning_rate | 0.01 |" in text["config"]
    assert f"| TensorFlow | {tf.__version__} |" in text["program"] and "| Model Garden | 2." in text["program"]
    assert f"| command | {program.command()} |" in text["program"]
    assert "unknown" not in program.description().values()
    lines = [line for line in text["data"].splitlines() if line.startswith("| test |")]
    assert lines and lines[0].startswith("| test | 5 | ")
    assert "5 entity classes: red square, green square" in text["data"]


def test_a_bar_does_not_end_a_cell_of_a_table():
    assert board._as_table("name", {"a": "x|y"}).splitlines()[-1] == r"| a | x\|y |"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_that_of_a_checkout_of_this_program(tmp_path, monkeypatch):
    def git(*arguments):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *arguments], check=True, capture_output=True)

    package = tmp_path / "venv" / "dsg_tf"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(program, "_HERE", str(package))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert program.commit() is None  # No checkout.
    git("init")
    (tmp_path / "other.py").write_text("")
    git("add", "other.py")
    git("commit", "-m", "of another project")
    assert program.commit() is None  # It does not know this file.
    git("add", ".")
    git("commit", "-m", "of this program")
    commit = program.commit()
    assert len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    (package / "__init__.py").write_text("changed")
    assert program.commit() == commit + "-dirty"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program.commit() is None
    monkeypatch.setattr(program, "installed", {"dsg_tf": "0.1.0", "tf-models-official": "2.20.0"}.get)
    assert program.description()["dsg_tf"] == "version 0.1.0"


def test_the_command_is_told_from_the_root_of_the_program(monkeypatch):
    monkeypatch.setattr(sys, "argv", [os.path.join(ROOT, "dsg_tf", "compare.py"), "--model_dir=a b"])
    assert program.command() == "dsg_tf/compare.py '--model_dir=a b'"
    monkeypatch.setattr(sys, "argv", ["train.py", "--seed=1"])
    assert program.command() == "train.py --seed=1"


def test_a_package_that_is_not_installed_has_an_unknown_version():
    assert program.installed("no-such-package-as-this") == "unknown" and program.installed("tensorflow") != "unknown"


def test_a_session_has_the_settings_and_the_final_scores_once(logdir):
    folder = logdir / "dsg_seed1" / "final_val"
    found = events(folder)
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = hparams.parse_session_start_info_plugin_data(content).hparams
    assert values["system"].string_value == "dsg" and values["seed"].number_value == 1
    assert values["learning_rate"].number_value == 1e-3 and values["optimizer"].string_value == "sgd"
    written = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert written == {"metric/subject_iou": [(12, 1.25)], "metric/object_iou": [(12, 0.5)],
                       "metric/proposal_recall": [(12, 0.75)]}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sessions.write(tiny.config(model_dir=str(logdir / "dsg_seed1")), "val")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before and len(before) == 1


def test_a_comparison_loads_no_tensorflow():
    code = "import sys; from dsg_tf import compare; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.fixture(scope="module")
def pages():
    """The script that takes the pictures of docs/tensorboard.md."""
    path = os.path.join(ROOT, "docs", "tensorboard_pages.py")
    spec = importlib.util.spec_from_file_location("tensorboard_pages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def address(logdir, pages):
    with pages.tensorboard(str(logdir)) as served:
        yield served


def test_tensorboard_serves_every_page(address, pages):
    active = {name for name, page in pages.fetch(address, "data/plugins_listing").items() if page["enabled"]}
    assert {"timeseries", "scalars", "images", "histograms", "distributions", "text", "pr_curves", "hparams"} <= active
    run = "dsg_seed0/val"
    assert set(pages.fetch(address, "data/plugin/images/tags")[run]) == {"sample", "worst"}
    assert pages.fetch(address, "data/plugin/scalars/tags")["dsg_seed0/train"].keys() == {"input/wait_share"}
    curve = pages.fetch(address, f"data/plugin/pr_curves/pr_curves?run={run}&tag=role/subject/pr_curves")
    last = curve[run][-1]
    assert last["step"] == STEP and last["recall"][0] == 1.0 and last["true_positives"][0] > 0
    assert last["thresholds"][1] == pytest.approx(0.01)
    histogram = pages.fetch(address, f"data/plugin/histograms/histograms?run={run}&tag=score/subject_other")
    assert [entry[1] for entry in histogram] == [STEP]


def test_the_hparams_page_has_a_row_for_each_run_and_what_differs_first(address, pages):
    experiment = pages.fetch(address, "data/plugin/hparams/experiment", {"experimentName": "", "hparamsLimit": 0})
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert names[:2] == ["learning_rate", "seed"] and "system" in names
    metrics = [info["name"] for info in experiment["metricInfos"]]
    assert {metric["tag"] for metric in metrics} == {
        f"metric/{name}" for name in ("subject_iou", "object_iou", "proposal_recall")}
    request = {"experimentName": "", "startIndex": 0, "sliceSize": 10, "allowedStatuses": ["STATUS_UNKNOWN"],
               "colParams": [{"metric": {"tag": "metric/subject_iou", "group": ""}, "includeInResult": True},
                             {"hparam": "seed", "includeInResult": True}]}
    rows = pages.fetch(address, "data/plugin/hparams/session_groups", request)["sessionGroups"]
    found = {(row["hparams"]["seed"], metric["name"]["tag"]): metric["value"]
             for row in rows for metric in row["metricValues"]}
    assert found[0, "metric/subject_iou"] == 0.25 and found[1, "metric/subject_iou"] == 1.25


def test_a_browser_shows_every_page(address, pages, tmp_path):
    if pages.chromium() is None:
        pytest.skip("Chromium is not installed")
    pages.take_pictures(address, str(tmp_path))
    shown = {}
    for name in pages.PAGES:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size == (pages.WIDTH, pages.HEIGHT), name
            pixels = np.asarray(picture.convert("RGB"), int)
        content = pixels[120:, 360:].reshape(-1, 3)  # Below the tabs and the filter, right of the runs.
        colors, pixels_of = np.unique(content, axis=0, return_counts=True)
        assert len(colors) > 30 and pixels_of.max() < 0.99 * len(content), name
        shown[name] = pixels
    for first, second in itertools.combinations(shown, 2):
        assert (shown[first] != shown[second]).any(axis=2).mean() > 0.005, (first, second)
