"""The models that the repository brings: they load by name, answer, and are small; and weights to start from."""

import os

import pytest
from paths import ROOT

from dsg_tf import build, checkpoints
from dsg_tf.config import model_dirs
from dsg_tf.data.prepare.synthetic import prepare_synthetic
from dsg_tf.data.records import DatasetInfo
from dsg_tf.evaluation import scoring

FOLDER = os.path.join(ROOT, "models")
MEGABYTES = 8.0
PARTS = ["nanodet_plus_m"]


@pytest.mark.parametrize("name", sorted(os.listdir(FOLDER)))
def test_all_are_packed_and_small(name):
    path = os.path.join(FOLDER, name)
    assert model_dirs.is_packed(path)
    assert sum(os.path.getsize(os.path.join(path, file)) for file in os.listdir(path)) < MEGABYTES * 1e6


@pytest.mark.parametrize("name", PARTS)
def test_weights_of_others_have_their_license_and_say_what_was_changed(name):
    path = os.path.join(FOLDER, name)
    with open(os.path.join(path, "LICENSE"), encoding="utf-8") as license_file:
        assert "Apache License" in license_file.read()
    with open(os.path.join(path, "README.md"), encoding="utf-8") as readme:
        text = readme.read()
    assert "| author |" in text and "| license | Apache-2.0" in text and "What was changed" in text


@pytest.mark.parametrize("name", sorted(set(os.listdir(FOLDER)) - set(PARTS)))
def test_every_model_is_whole_and_has_its_card(name):
    path = os.path.join(FOLDER, name)
    assert os.path.exists(os.path.join(path, "config.json"))
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
