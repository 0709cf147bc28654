"""The models that the repository brings: they load by name, answer, and are small."""

import os

import pytest
from paths import ROOT

from dsg_tf import build, checkpoints
from dsg_tf.config import model_dirs
from dsg_tf.data.prepare.synthetic import prepare_synthetic
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import scoring

FOLDER = os.path.join(ROOT, "models")
MEGABYTES = 8.5


@pytest.mark.parametrize("name", sorted(os.listdir(FOLDER)))
def test_every_model_is_whole_and_small_and_has_its_card(name):
    path = os.path.join(FOLDER, name)
    assert model_dirs.is_packed(path)
    assert sum(os.path.getsize(os.path.join(path, file)) for file in os.listdir(path)) < MEGABYTES * 1e6
    with open(os.path.join(path, "CARD.md"), encoding="utf-8") as card:
        text = card.read()
    assert "| license |" in text and "## Scores" in text and "## Limits" in text


def test_the_clevr_model_answers_about_rendered_scenes(tmp_path, monkeypatch):
    """From another directory, by its name; scenes of a seed that no training has seen."""
    monkeypatch.chdir(tmp_path)
    model, config, vocabulary, _ = checkpoints.load_model("models/clevr")
    prepare_synthetic("data", "unseen", 6, seed=77)
    info = DatasetInfo.load("data")
    assert info.vocabulary == vocabulary
    spec = build.batch_spec(config, info, "unseen", training=False)
    found = scoring.evaluate(model, info.shard_paths("data", "unseen"), spec, batch_size=3).summary()
    assert min(found["subject_iou"], found["object_iou"]) > 0.93  # 0.97 on forty scenes.
