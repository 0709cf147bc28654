"""Comparisons: statistics, table, plot, and the command on two small systems."""

import dataclasses
import json
import os

import commands
import numpy as np
import pytest
import tiny
import tiny_data
from PIL import Image
from scipy import stats

from dsg_tf import config as config_lib
from dsg_tf.compare import report, runs
from dsg_tf.evaluation.query_results import QueryResult


def run(seed, offset=0.0, images=12, queries=5, noise=0):
    rng = np.random.default_rng(noise)
    rows = []
    for image in range(images):
        for query in range(queries):
            base = 0.3 + 0.02 * image + 0.01 * query + 0.02 * rng.normal()
            rows.append(
                QueryResult(image, f"{image}.png", query, (query, 0, 1), base + offset, base, query == 0, False)
            )
    return report.Run(seed, 2.0, rows)


def test_means_errors_and_ambiguous_queries():
    runs = {"dsg": [run(0), run(1, offset=0.1)], "no_dsg": [run(0, offset=-0.2, noise=1)]}
    found = report.report(runs)
    scores = np.mean([[q.subject_iou for q in r.queries] for r in runs["dsg"]], axis=0)
    subject = found["dsg"]["subject"]
    assert subject["iou"] == pytest.approx(scores.mean()) and subject["stderr"] == pytest.approx(stats.sem(scores))
    assert subject["ambiguous_iou"] == pytest.approx(scores[::5].mean()) and subject["num_ambiguous"] == 12
    assert subject["by_seed"][1] - subject["by_seed"][0] == pytest.approx(0.1)
    assert found["dsg"]["object"]["ambiguous_iou"] is None and "difference" not in subject
    assert found["dsg"]["seeds"] == [0, 1]
    worse = found["no_dsg"]["subject"]
    assert worse["difference"] == pytest.approx(-0.25, abs=0.01) and worse["p_value"] < 1e-6
    assert found["no_dsg"]["object"]["p_value"] > 0.01


def test_the_paired_test_counts_images_not_queries():
    images = np.repeat(np.arange(4), 50)
    differences = np.repeat([0.1, -0.05, 0.2, 0.0], 50)
    found = report.paired_test(differences, images)
    assert found["difference"] == pytest.approx(0.0625)
    assert found["p_value"] == pytest.approx(stats.ttest_1samp([0.1, -0.05, 0.2, 0.0], 0).pvalue)
    assert report.paired_test(np.zeros(8), np.arange(8)) == {"difference": 0.0, "p_value": 1.0}


def test_minutes_that_nobody_counted_are_left_out(tmp_path):
    """train.py may have trained what a comparison takes."""
    config = tiny.config(model_dir=str(tmp_path))
    config_lib.save(config, str(tmp_path))
    (tmp_path / "eval_val.json").write_text("{}")
    assert runs.train_if_needed(config, "val") is None
    (tmp_path / runs.RUN_FILE).write_text('{"minutes": 2.5}')
    assert runs.train_if_needed(config, "val") == 2.5
    uncounted = dataclasses.replace(run(0), minutes=None)
    found = report.report({"dsg": [uncounted], "co": [uncounted, dataclasses.replace(run(1), minutes=7.0)]})
    assert [found[name]["minutes"] for name in ("dsg", "co")] == [None, 7.0]
    assert [line.split("|")[-2].strip() for line in report.table(found).splitlines()[2:]] == ["", "7"]


def test_runs_on_different_queries_do_not_compare():
    with pytest.raises(ValueError, match="dsg, co were scored on different queries"):
        report.report({"dsg": [run(0)], "co": [run(0, images=11)]})


def test_files(tmp_path):
    runs = {name: [run(0, offset)] for name, offset in (("dsg", 0.0), ("two_step", -0.1), ("ssas", -0.2))}
    report.write(runs, str(tmp_path), "val")
    lines = (tmp_path / "compare.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["DSG", "TWO STEP", "SSAS"]
    assert "-0.100, +0.000" in lines[3]
    assert json.loads((tmp_path / "compare.json").read_text())["systems"]["ssas"]["seeds"] == [0]
    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.width > 400 and len(picture.convert("RGB").getcolors(1 << 20)) > 20


@pytest.mark.process
def test_the_command_trains_reuses_and_goes_on(tmp_path):
    data_dir, compare_dir = str(tmp_path / "data"), str(tmp_path / "compare")
    tiny_data.write(data_dir)
    settings = {**tiny.SETTINGS, "data_dir": data_dir, "epochs": 0.5, "eval_steps": 0, "compare_dir": compare_dir}
    done = commands.run("dsg_tf.compare", **settings, models="dsg")
    assert done.returncode == 0, done.stderr[-3000:]
    results = os.path.join(compare_dir, "dsg_seed0", "eval_val.json")
    written = os.path.getmtime(results)
    done = commands.run("dsg_tf.compare", **settings, models="dsg,ss")
    assert done.returncode == 0, done.stderr[-3000:]
    assert os.path.getmtime(results) == written
    found = json.loads((tmp_path / "compare" / "compare.json").read_text())["systems"]
    assert set(found) == {"dsg", "ss"} and "difference" in found["ss"]["subject"]
    assert os.path.exists(os.path.join(compare_dir, "ss_seed0", "figures", "val_sample.png"))
    for run in ("dsg_seed0", "ss_seed0"):  # A row each on TensorBoard's page, though dsg was there at the second call.
        assert len(os.listdir(os.path.join(compare_dir, run, "final_val"))) == 1
    assert "SPATIAL SHIFTS" in done.stdout
    other = config_lib.for_system(tiny.config(data_dir=data_dir, learning_rate=0.5), "dsg")
    with pytest.raises(ValueError, match="dsg_seed0 holds results of other settings"):
        runs.compare(other, ["dsg"], [0], "val", compare_dir)


def test_an_unknown_system_is_told_before_any_is_trained(tmp_path):
    with pytest.raises(ValueError, match="--model='dgs' is not one of"):
        runs.compare(tiny.config(), ["dsg", "dgs"], [0], "val", str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


@pytest.mark.process
def test_wrong_seeds_and_a_failed_run_end_in_a_sentence(tmp_path):
    settings = {**tiny.SETTINGS, "data_dir": str(tmp_path / "data"), "models": "dsg"}
    wrong = commands.run("dsg_tf.compare", **settings, seeds="0,x", compare_dir=str(tmp_path / "nothing"))
    assert wrong.returncode == 1 and not (tmp_path / "nothing").exists()
    assert wrong.stderr.splitlines()[-1] == "compare: --seeds=0,x: 'x' is not a whole number from 0"
    failed = commands.run("dsg_tf.compare", **settings, compare_dir=str(tmp_path / "compare"))
    run = tmp_path / "compare" / "dsg_seed0"
    assert failed.returncode == 1 and "Traceback" not in failed.stderr, failed.stderr
    assert f"{run}: --data_dir={tmp_path}/data has no prepared data" in failed.stderr
    assert failed.stderr.splitlines()[-1] == f"compare: training of {run} ended with exit code 1 before its results"
    assert not (tmp_path / "compare" / "compare.json").exists()
