"""The page about an evaluation against its files, and against literal counts."""

from __future__ import annotations

import dataclasses
import json
import os

import html_pages
import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from PIL import Image

from dsg_tf import build
from dsg_tf import config as config_lib
from dsg_tf.data import records
from dsg_tf.data.records import DatasetInfo
from dsg_tf.data.scene import Scene, Vocabulary
from dsg_tf.drawing import curves, query_panels
from dsg_tf.evaluation import binary_scores, gallery, query_results, scoring
from dsg_tf.evaluation.analysis import errors
from dsg_tf.evaluation.analysis.samples import samples
from dsg_tf.evaluation.query_results import Evaluation, QueryResult
from dsg_tf.evaluation.report import calibration, pages
from dsg_tf.objectives import score_bins

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def results_dir(loaded, data_dir, model_dir, tmp_path_factory):
    """Where an evaluation wrote what it found."""
    folder = str(tmp_path_factory.mktemp("results"))
    model, config, _, step = loaded
    info = DatasetInfo.load(data_dir)
    places = {"data_dir": data_dir, "model_dir": folder, "trained_in": model_dir}
    scoring.evaluate_split(model, config, info, "test", step, **places)
    return folder


@pytest.fixture(scope="module")
def report(results_dir):
    with open(os.path.join(results_dir, "report_test.html"), encoding="utf-8") as file:
        return html_pages.check(file.read())


@pytest.fixture(scope="module")
def queries(results_dir):
    return query_results.read_queries(os.path.join(results_dir, "queries_test.csv"))


def scored(values):
    """A mean and its standard error as the page has it."""
    values = np.array(values)
    if not len(values):
        return "–"
    error = "" if len(values) == 1 else f" ± {values.std(ddof=1) / len(values) ** 0.5:.3f}"
    return f"{values.mean():.3f}{error}"


def test_scores_are_those_of_the_json(report, results_dir, queries):
    with open(os.path.join(results_dir, "eval_test.json"), encoding="utf-8") as file:
        summary = json.load(file)
    means, numbers = report.column("Scores", "mean IoU ± standard error"), report.numbers("Scores", "queries")
    for role in ("subject", "object"):
        for name, prefix in ((role, ""), (f"{role}, ambiguous", "ambiguous_")):
            iou, stderr = (summary[f"{prefix}{role}_iou{end}"] for end in ("", "_stderr"))
            assert means[name] == f"{iou:.3f} ± {stderr:.3f}"
        easy = [getattr(q, f"{role}_iou") for q in queries if not getattr(q, f"{role}_ambiguous")]
        assert means[f"{role}, not ambiguous"] == scored(easy) and len(easy) > 1
        assert numbers[role] == summary["num_queries"]
        assert numbers[f"{role}, ambiguous"] == summary[f"num_ambiguous_{role}"] > 1
    for part, found in summary["answer_probability"].items():
        row = next(
            r for r in report.tables["Queries that hold against those that do not"] if r[0] == part.replace("_", " ")
        )
        assert row[1:4] == [f"{found[name]:.3f}" for name in ("auroc", "average_precision", "calibration_error")]
        assert row[4:] == [str(found["num_true"]), str(found["num_contrastive"])]


def test_errors_are_those_of_the_analysis(report, loaded, data_dir, queries):
    model, config, vocabulary, _ = loaded
    info = DatasetInfo.load(data_dir)
    spec = build.batch_spec(config, info, "test", training=False)
    ious = {(q.image, q.query, role): getattr(q, f"{role}_iou") for q in queries for role in ("subject", "object")}
    every = samples(model, info.shard_paths(data_dir, "test"), spec, 2)
    expected, _ = errors.analyze(every, ious, vocabulary)
    for group, heads in (("all", ("subject", "object")), ("ambiguous", ("subject, ambiguous", "object, ambiguous"))):
        shown = [report.numbers("Answers by kind", head) for head in heads]
        total = expected[group]["count"]
        assert sum(map(sum, (column.values() for column in shown))) == total > 0
        for kind in errors.KINDS:
            assert sum(column[kind] for column in shown) / total == pytest.approx(expected[group][kind], abs=1e-4)
    assert len([kind for kind in errors.KINDS if expected["all"][kind]]) >= 3
    relation = report.tables["Scores by relation"][1]
    shares = {kind: expected["by_relation"][relation[0]][kind] for kind in errors.KINDS if kind != "right"}
    kind, share = relation[-1].rstrip("%)").split(" (")
    assert shares[kind] == max(shares.values()) and float(share) == pytest.approx(100 * shares[kind], abs=0.06)


def test_relations_and_classes_are_those_of_the_queries(report, queries):
    names = tiny_data.VOCABULARY
    for relation, name in enumerate(names.relations):
        of = [q for q in queries if q.triplet[1] == relation]
        assert report.numbers("Scores by relation", "queries")[name] == len(of)
        for role in ("subject", "object"):
            mean = report.column("Scores by relation", f"{role} IoU")[name]
            assert mean == scored([getattr(q, f"{role}_iou") for q in of])
    for entity, name in enumerate(names.entities):
        for part, role in ((0, "subject"), (2, "object")):
            of = [getattr(q, f"{role}_iou") for q in queries if q.triplet[part] == entity]
            if name in report.column("Scores by class", "class"):
                assert report.numbers("Scores by class", f"as {role}")[name] == len(of)
                assert report.column("Scores by class", f"{role} IoU")[name] == scored(of)
            else:
                assert not of
    frequent = [int(row[1]) for row in report.tables["Scores by relation"][1:]]
    assert frequent == sorted(frequent, reverse=True)


def test_the_worst_and_the_best_are_shown_one_an_image(report, queries, results_dir):
    pictures = report.pictures()
    assert len(pictures) == 2 * 5  # Of five images.
    for chosen, worst in ((pictures[:5], min), (pictures[5:], max)):
        ids = [alt.split(":")[0] for _, alt in chosen]
        assert sorted(ids) == sorted({q.image_id for q in queries})
        of_first = [q.subject_iou + q.object_iou for q in queries if q.image_id == ids[0]]
        assert worst(of_first) == worst(q.subject_iou + q.object_iou for q in queries)
    assert all(image.width > 700 for image, _ in pictures)
    assert "tensorboard --logdir=" in report.text and f"in {results_dir}: eval_test.json" in report.text
    assert report.column("Settings that are not the default", "value")["num_boxes"] == "6"
    assert report.column("Settings that are the default", "value")["optimizer"] == "sgd"
    assert report.column("The program", "version")["TensorFlow"]


def test_curves_are_those_of_the_scores(report, queries):
    lines = [a["points"] for tag, a in report.tags if tag == "polyline"]
    assert len(lines) == 2 + 4  # answer_probability; subject and object, twice.
    rows = report.tables["answer_probability in bins"][1:]
    assert sum(int(row[1]) for row in rows) == 2 * len(queries)
    held = sum(round(float(row[3]) * int(row[1])) for row in rows)
    assert held == len(queries) and len(lines[0].split()) == len(rows)


def points(document):
    """Of each curve of a page, (x, y) in the unit square."""
    found = []
    for tag, attributes in html_pages.Page(document).tags:
        if tag == "polyline":
            places = [tuple(map(float, place.split(","))) for place in attributes["points"].split()]
            x_of, y_of = (lambda x: (x - curves._LEFT) / curves._SIDE), (lambda y: 1 - (y - curves._TOP) / curves._SIDE)
            found.append([(pytest.approx(x_of(x), abs=1e-3), pytest.approx(y_of(y), abs=1e-3)) for x, y in places])
    return found


def test_what_holds_and_what_does_not_are_not_mixed_up():
    held = [QueryResult(0, "", k, (0, 0, 0), 1.0, 1.0, False, False, 0.95) for k in range(2)]
    absent = {"other_relation": [0.05, 0.05], "absent_class": [0.05]}
    part = {"auroc": 1.0, "average_precision": 1.0, "calibration_error": 0.05, "num_true": 2, "num_contrastive": 3}
    result = Evaluation(held, 1, None, 0.1, answer_probability={"all": part}, absent=absent)
    reliability, precision = points("".join(calibration.of_answers(result)))
    assert [(0.05, 0.0), (0.95, 1.0)] == reliability
    assert (1.0, 0.4) == precision[0] and (1.0, 1.0) == precision[-1]
    bins = np.zeros([1, 2, score_bins.BINS], int)
    bins[0, 0, 5], bins[0, 1, 95] = 30, 20
    reliability, precision = points("".join(calibration.of_roles({"subject": bins}, "boxes")))
    assert [(0.055, 0.0), (0.955, 1.0)] == reliability and (1.0, 0.4) == precision[0] and (1.0, 1.0) == precision[-1]


def test_an_evaluation_without_report_is_the_same(loaded, data_dir, results_dir, tmp_path):
    model, config, _, step = loaded
    info = DatasetInfo.load(data_dir)
    scoring.evaluate_split(model, config, info, "test", step, data_dir=data_dir, model_dir=str(tmp_path), report=False)
    assert sorted(os.listdir(tmp_path)) == ["eval_test.json", "figures", "queries_test.csv"]
    assert (tmp_path / "queries_test.csv").read_bytes() == open(f"{results_dir}/queries_test.csv", "rb").read()
    for name in os.listdir(tmp_path / "figures"):
        assert (tmp_path / "figures" / name).read_bytes() == open(f"{results_dir}/figures/{name}", "rb").read()


def test_systems_that_answer_with_maps(data_dir, tmp_path):
    config = config_lib.for_system(tiny.config(data_dir=data_dir, model_dir=str(tmp_path)), "co")
    info = DatasetInfo.load(data_dir)
    scoring.evaluate_split(tiny.model(config), config, info, "test", 3)
    found = html_pages.check((tmp_path / "report_test.html").read_text(encoding="utf-8"))
    assert "whose errors have no kinds" in found.text and "no answer_probability" in found.text
    assert "Answers by kind" not in found.tables and "Probabilities of cells" in found.text
    assert found.tables["Scores by relation"][0] == ["relation", "queries", "subject IoU", "object IoU"]
    assert len(found.pictures()) == 10


def test_a_split_without_relations_and_one_without_images(loaded, tmp_path):
    model, config, _, step = loaded
    splits, alone = {}, Scene("a.png", tiny_data.draw("test", 0).image, 48, 72, [], [], [])
    for name, scenes in (("val", []), ("test", [alone])):
        with tf.io.TFRecordWriter(str(tmp_path / records.shard_name(name, 0, 1))) as writer:
            for scene in scenes:
                writer.write(records.scene_to_example(scene).SerializeToString())
        numbers = {f.name: 0 for f in dataclasses.fields(records.SplitInfo) if f.type == "int"}
        numbers |= {"num_images": len(scenes), "num_shards": 1}
        splits[name] = records.SplitInfo(
            **numbers, examples_per_shard=[len(scenes)], annotated={}, source={}, problems={}
        )
    info = DatasetInfo(tiny_data.VOCABULARY, splits)
    for name in splits:
        scoring.evaluate_split(model, config, info, name, step, data_dir=str(tmp_path), model_dir=str(tmp_path / "out"))
        found = html_pages.check((tmp_path / "out" / f"report_{name}.html").read_text(encoding="utf-8"))
        assert "The split has no queries." in found.text and f"{len(name) - 3} images, 0 queries" in found.text


def test_names_are_text(tmp_path):
    vocabulary = Vocabulary((EVIL, "dog"), (f"on {EVIL}",))
    query = QueryResult(0, f"{EVIL}.png", 0, (0, 0, 1), 0.5, 0.25, True, False, 0.75)
    about = pages.About(tiny.config(data_dir=EVIL), vocabulary, EVIL, f"runs/{EVIL} a", EVIL)
    picture = query_panels.query_panel(Image.new("RGB", (60, 40)), "a, b, c", None, ([], []))
    result = Evaluation([query], 1, None, 0.1)
    kinds = {"subject": ["relation"], "object": ["right"]}
    document = pages.document(about, {"split": EVIL, "step": 1}, result, kinds, {"worst": [(query, picture)]})
    found = html_pages.check(document)
    assert found.column("Scores by class", "subject IoU") == {EVIL: "0.500", "dog": "–"}
    assert found.column("Scores by class", "most frequent error") == {EVIL: "relation (100.0%)", "dog": "none"}
    assert found.pictures()[0][1] == f"{EVIL}.png: true and answered boxes of {EVIL}, on {EVIL}, dog"
    assert "subject relation, object right; subject ambiguous; answer_probability 0.75." in found.text
    assert f"tensorboard '--logdir=runs/{EVIL} a'" in found.text


def test_a_model_in_half_precision_has_no_course_of_training(tmp_path):
    (tmp_path / "weights.index").write_text("")
    about = pages.About(tiny.config(), tiny_data.VOCABULARY, "data", str(tmp_path), "results")
    result = Evaluation([], 0, None, float("nan"))
    assert "tensorboard" not in pages.document(about, {"split": "val", "step": 1}, result, {}, {})


def test_chosen_queries():
    def query(image, number, iou, hard=False):
        return QueryResult(image, f"{image}.png", number, (0, 0, 0), iou, iou, hard, False)

    every = [query(0, 0, 1.0), query(0, 1, 1.0, True), query(1, 0, 0.2), query(1, 1, 0.1), query(2, 0, 0.6)]
    chosen = gallery.choose(every, count=2, best=2)
    assert chosen == {"sample": [every[0], every[4]], "worst": [every[3], every[4]], "best": [every[1], every[4]]}
    assert set(gallery.choose(every)) == {"sample", "worst"} and gallery.choose([]) == {}


def test_reliability_is_what_the_calibration_error_averages():
    rng = np.random.default_rng(0)
    truths, others = rng.beta(5, 2, 400), rng.beta(2, 4, 300)
    means, shares, numbers = binary_scores.reliability(truths, others)
    error = np.nansum(np.abs(means - shares) * numbers) / numbers.sum()
    assert error == pytest.approx(binary_scores.calibration_error(truths, others)) and numbers.sum() == 700
    counts = np.stack([np.histogram(v, score_bins.BINS - 1, (0, 1))[0] for v in (others, truths)])
    counts = np.pad(counts, [[0, 0], [0, 1]])
    counts[1, -1] = 7  # Of exactly 1.
    means, shares, numbers = score_bins.reliability(counts)
    for k in range(10):
        inside = [(v >= k / 10) & (v < (k + 1) / 10) for v in (truths, others)]
        right, wrong = inside[0].sum() + 7 * (k == 9), inside[1].sum()
        assert numbers[k] == right + wrong and shares[k] == pytest.approx(right / (right + wrong))
        assert k == 9 or means[k] == pytest.approx(
            np.concatenate([truths, others])[np.concatenate(inside)].mean(), abs=0.005
        )
    empty = score_bins.reliability(np.zeros([2, score_bins.BINS], int))
    assert np.isnan(empty[0]).all() and np.isnan(empty[1]).all() and not empty[2].any()
