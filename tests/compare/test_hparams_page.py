"""TensorBoard's HParams page: a row for each run."""

from __future__ import annotations

import subprocess
import sys

import event_files
import logged_runs
import pytest
from paths import ROOT
from tensorboard.plugins.hparams import metadata as hparams

from dsg_tf.compare import hparams_page


def test_a_session_has_the_settings_and_the_final_scores_once(tmp_path):
    config = logged_runs.settings(str(tmp_path), seed=1)
    logged_runs.write_scores(config, seed=1)
    folder = tmp_path / "dsg_seed1" / "final_val"
    found = event_files.read(folder)
    content = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    values = hparams.parse_session_start_info_plugin_data(content).hparams
    assert values["system"].string_value == "dsg" and values["seed"].number_value == 1
    assert values["learning_rate"].number_value == 1e-3 and values["optimizer"].string_value == "sgd"
    written = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert written == {
        "metric/subject_iou": [(12, 1.25)],
        "metric/object_iou": [(12, 0.5)],
        "metric/proposal_recall": [(12, 0.75)],
    }
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    hparams_page.write(config, "val")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before and len(before) == 1


@pytest.mark.process
def test_a_comparison_loads_no_tensorflow():
    code = "import sys; from dsg_tf.compare import command, report, runs; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
