"""What TensorBoard makes of the files of two runs, asked as its own pages ask it."""

from __future__ import annotations

import docs_pages
import logged_runs
import pytest

pytestmark = pytest.mark.process
pages = docs_pages.load()


@pytest.fixture(scope="module")
def address(logged):
    with pages.tensorboard(str(logged)) as served:
        yield served


def test_tensorboard_serves_every_page(address):
    active = {name for name, page in pages.fetch(address, "data/plugins_listing").items() if page["enabled"]}
    assert {"timeseries", "scalars", "images", "histograms", "distributions", "text", "pr_curves", "hparams"} <= active
    run = "dsg_seed0/val"
    assert set(pages.fetch(address, "data/plugin/images/tags")[run]) == {"sample", "worst"}
    assert pages.fetch(address, "data/plugin/scalars/tags")["dsg_seed0/train"].keys() == {"input/wait_share"}
    curve = pages.fetch(address, f"data/plugin/pr_curves/pr_curves?run={run}&tag=role/subject/pr_curves")
    last = curve[run][-1]
    assert last["step"] == logged_runs.STEP and last["recall"][0] == 1.0 and last["true_positives"][0] > 0
    assert last["thresholds"][1] == pytest.approx(0.01)
    histogram = pages.fetch(address, f"data/plugin/histograms/histograms?run={run}&tag=score/subject_other")
    assert [entry[1] for entry in histogram] == [logged_runs.STEP]


def test_the_hparams_page_has_a_row_for_each_run_and_what_differs_first(address):
    experiment = pages.fetch(address, "data/plugin/hparams/experiment", {"experimentName": "", "hparamsLimit": 0})
    names = [info["name"] for info in experiment["hparamInfos"]]
    assert names[:2] == ["learning_rate", "seed"] and "system" in names
    metrics = [info["name"] for info in experiment["metricInfos"]]
    assert {metric["tag"] for metric in metrics} == {
        f"metric/{name}" for name in ("subject_iou", "object_iou", "proposal_recall")
    }
    request = {
        "experimentName": "",
        "startIndex": 0,
        "sliceSize": 10,
        "allowedStatuses": ["STATUS_UNKNOWN"],
        "colParams": [
            {"metric": {"tag": "metric/subject_iou", "group": ""}, "includeInResult": True},
            {"hparam": "seed", "includeInResult": True},
        ],
    }
    rows = pages.fetch(address, "data/plugin/hparams/session_groups", request)["sessionGroups"]
    found = {
        (row["hparams"]["seed"], metric["name"]["tag"]): metric["value"]
        for row in rows
        for metric in row["metricValues"]
    }
    assert found[0, "metric/subject_iou"] == 0.25 and found[1, "metric/subject_iou"] == 1.25
