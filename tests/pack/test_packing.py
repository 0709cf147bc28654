"""Packed models: the same answers, what is refused, and the card."""

from __future__ import annotations

import dataclasses
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.data.scene import Vocabulary
from dsg_tf.evaluation import scoring
from dsg_tf.model.moving_average import MovingAverage, named_variables
from dsg_tf.pack import packing
from dsg_tf.training import run as runs

TEXTS = {
    "trained_on": "eight drawings",
    "license": "that of the drawings",
    "command": "python train.py --flagfile=drawings.flags",
    "time": "a second",
    "limit": ["No photographs.", "No triangles."],
}
DATA = "weights.data-00000-of-00001"


@pytest.fixture(scope="module")
def packed(model_dir, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "models" / "tiny"
    packing.pack(model_dir, str(path), TEXTS)
    return path


@pytest.fixture
def copy(packed, tmp_path):
    """A packed model to break."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for path in packed.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    return folder, tiny_data.write(folder, {"val": 2, "test": 5})


def test_a_packed_model_answers_as_the_trained_one_to_half_precision(model_dir, packed):
    (trained, _, words, step), (half, config, same_words, same_step) = map(
        checkpoints.load_model, (model_dir, str(packed))
    )
    assert (words, step) == (same_words, same_step)
    assert config == dataclasses.replace(config_lib.load(model_dir), model_dir="")
    rounded = 0
    for one, other in zip(trained.variables, half.variables):
        assert other.dtype == tf.float32
        np.testing.assert_allclose(other, one, rtol=2**-11 if one.shape.rank > 1 else 0, atol=1e-7)
        rounded += int(np.any(one.numpy() != other.numpy()))
    assert rounded > 30
    # On the true boxes: of two proposals with nearly the same score another may come first.
    batch = tiny.batch(config, 2)
    batch |= {"proposals": batch["true_boxes"], "proposal_mask": batch["box_mask"]}
    answers = [model(batch, training=False) for model in (trained, half)]
    for name in ("role_probabilities", "subject_scores", "boxes", "entity_logits"):
        one, other = (np.asarray(found[name]) for found in answers)
        np.testing.assert_allclose(other, one, rtol=0.02, atol=0.02, err_msg=name)
    assert {path.name for path in packed.iterdir()} == {
        "CARD.md",
        "config.json",
        "vocabulary.json",
        "weights.index",
        DATA,
    }
    parameters = sum(v.shape.num_elements() for v in trained.variables)
    assert (packed / DATA).stat().st_size < 2.5 * parameters + 60_000  # Names take some of it.


def test_the_average_is_what_is_packed(tmp_path):
    settings = tiny.config(model="no_dsg", ema_decay=0.5)
    model = tiny.model(settings)
    average = MovingAverage(named_variables(model), 0.5)
    for value in average.averages:
        value.assign(tf.fill(value.shape, tf.cast(3, value.dtype)))
    config_lib.save(settings, str(tmp_path / "run"))
    checkpoints.save_vocabulary(str(tmp_path / "run"), tiny_data.VOCABULARY)
    whole = tf.train.Checkpoint(model=model, average=average, step=tf.Variable(7, dtype=tf.int64))
    tf.train.CheckpointManager(whole, checkpoints.checkpoint_dir(str(tmp_path / "run")), 1).save(7)
    packing.pack(str(tmp_path / "run"), str(tmp_path / "half"), TEXTS)
    loaded, *_ = checkpoints.load_model(str(tmp_path / "half"))
    assert all((variable.numpy() == 3).all() for variable in loaded.variables)


@pytest.mark.parametrize("modules", [("all",), ("matching",), ("backbone", "decoder")], ids=",".join)
def test_training_starts_from_it(modules, packed):
    model, (donor, *_) = tiny.model(dataclasses.replace(tiny.EXPORTED, seed=5)), checkpoints.load_model(str(packed))
    own = [v.numpy() for v in model.graph.variables]
    checkpoints.initialize(model, str(packed), modules)
    for one, other in zip(model.detector.backbone.variables, donor.detector.backbone.variables):
        np.testing.assert_array_equal(one, other)
    expected = own if "backbone" in modules else [v.numpy() for v in donor.graph.variables]
    for one, other in zip(model.graph.variables, expected):
        np.testing.assert_array_equal(one, other)


def test_a_start_that_does_not_fit_names_the_packed_weights(packed):
    with pytest.raises(ValueError, match=f"--init_checkpoint={packed}/weights does not fit the model in .* variables"):
        checkpoints.initialize(tiny.model(tiny.config(hidden_units=9)), str(packed), ("all",))


def test_it_is_not_trained_on(packed, data):
    config = dataclasses.replace(tiny.EXPORTED, model_dir=str(packed))
    with pytest.raises(ValueError, match=f"does not train on.*--init_checkpoint={packed}"):
        runs.check_same_run(config, data[1])


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "data cut": lambda folder: cut(folder / DATA, 1000),
    "data missing": lambda folder: os.remove(folder / DATA),
    "data wrong": lambda folder: flip(folder / DATA),
    "index cut": lambda folder: cut(folder / "weights.index", 50),
    "index missing": lambda folder: os.remove(folder / "weights.index"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_broken_weights_are_named(damage, copy):
    DAMAGES[damage](copy)
    for read in (lambda: checkpoints.load_model(str(copy)), lambda: checkpoints.initialize(None, str(copy), ("all",))):
        with pytest.raises(ValueError, match=re.escape(f"{copy}/weights cannot be read")):
            read()


def test_weights_of_other_settings_are_refused_with_names_and_shapes(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_units": 9}))
    with pytest.raises(ValueError) as caught:
        checkpoints.load_model(str(copy))
    message = str(caught.value)
    assert f"{copy}/weights does not fit the model in" in message
    assert f"(is {copy}/config.json of the same model?)" in message
    assert "model/classifier/hidden/kernel: shape [16, 16] in the checkpoint, [9, 9] in the model" in message


@pytest.fixture(scope="module")
def scores(model_dir, data, tmp_path_factory):
    model, config, _, step = checkpoints.load_model(model_dir)
    folder = str(tmp_path_factory.mktemp("scores"))
    return scoring.evaluate_split(model, config, data[1], "val", step, data_dir=data[0], model_dir=folder)


@pytest.fixture
def evaluated(model_dir, scores, tmp_path):
    """A model directory with scores of the validation split."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json", "vocabulary.json", "checkpoints"):
        os.symlink(os.path.join(model_dir, name), folder / name)
    (folder / "eval_val.json").write_text(json.dumps(scores))
    return folder


def test_the_card_has_what_was_said_and_the_scores_before_and_after(evaluated, data, tmp_path):
    path = evaluated / "eval_val.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "subject_iou": 0.98765, "subject_iou_stderr": 0.04321}))
    packing.pack(str(evaluated), str(tmp_path / "mine"), TEXTS, splits=("val",), data_dir=data[0])
    card = (tmp_path / "mine" / "CARD.md").read_text()
    assert card.startswith("# mine\n") and "5 classes and 4 relations (left, right, above, below)" in card
    assert "- No photographs.\n- No triangles.\n" in card and "`python train.py --flagfile=drawings.flags`" in card
    assert "the network sees 96 × 64 pixels" in card and "of step 7," in card
    model, config, *_ = checkpoints.load_model(str(tmp_path / "mine"))
    rounded = scoring.evaluate_split(model, config, data[1], "val", 7, data_dir=data[0], model_dir=str(tmp_path / "b"))
    after = f"{rounded['subject_iou']:.4f} ± {rounded['subject_iou_stderr']:.4f}"
    assert f"| val | subject IoU | {found['num_queries']} | 0.9877 ± 0.0432 | {after} |" in card
    assert f"| val | object IoU, ambiguous | {found['num_ambiguous_object']} |" in card


@pytest.mark.parametrize(
    "change, message",
    [({"step": 6}, r"eval_val\.json is of step 6, the last checkpoint of step 7: run python eval\.py"),
     ({"num_queries": 3}, "about 3 queries")],
)  # fmt: skip
def test_scores_of_something_else_are_refused_and_nothing_is_left(change, message, evaluated, data, tmp_path):
    path = evaluated / "eval_val.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    before = set(os.listdir(tmp_path))
    with pytest.raises(ValueError, match=message):
        packing.pack(str(evaluated), str(tmp_path / "mine"), TEXTS, splits=("val",), data_dir=data[0])
    assert set(os.listdir(tmp_path)) == before


def test_a_split_that_was_not_evaluated_is_named(evaluated, data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"eval_test\.json is not there: run python eval\.py .* --split=test"):
        packing.pack(str(evaluated), str(tmp_path / "mine"), TEXTS, splits=("test",), data_dir=data[0])


def test_data_of_other_words_is_refused(evaluated, data, tmp_path):
    other = dataclasses.replace(data[1], vocabulary=Vocabulary(("a",), ("b",)))
    other.save(str(tmp_path))
    with pytest.raises(ValueError, match="another vocabulary"):
        packing.pack(str(evaluated), str(tmp_path / "mine"), TEXTS, splits=("val",), data_dir=str(tmp_path))


def test_paths_of_the_machine_that_trained_are_left_out(model_dir, tmp_path):
    tiny_data.write_model_dir(str(tmp_path / "run"), tiny.config(data_dir=str(tmp_path), init_checkpoint="runs/a"))
    packing.pack(str(tmp_path / "run"), str(tmp_path / "mine"), TEXTS)
    assert str(tmp_path) not in (tmp_path / "mine" / "config.json").read_text()
    assert config_lib.load(str(tmp_path / "mine")).init_checkpoint == "runs/a"
