"""The calibration of `answer_probability`: found, written, read, and in every form of the model."""

import dataclasses
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from pictures import FILES, QUERY
from scipy import special

from dsg_tf import checkpoints
from dsg_tf import config as config_lib
from dsg_tf.evaluation import binary_scores, calibrate
from dsg_tf.model.calibration import Calibration
from dsg_tf.pack import packing
from dsg_tf.predict import checkpoint_model
from export import export_saved_model

STRONG = Calibration(scale=0.1, shift=2.0)
TEXTS = {"trained_on": "drawings", "license": "none", "command": "train.py", "time": "a second", "limit": ["small"]}


@pytest.fixture
def copy(model_dir, tmp_path):
    """A trained model to calibrate."""
    return shutil.copytree(model_dir, str(tmp_path / "model"))


def answer_of(model_dir):
    return checkpoint_model.CheckpointModel.load(model_dir).answer(FILES["png"], [", ".join(QUERY)])[0]


def test_the_scale_and_the_shift_that_made_the_answers_are_found():
    rng = np.random.default_rng(0)
    log_odds = rng.normal(-2, 4, 40_000)
    holds = rng.random(40_000) < special.expit(0.3 * log_odds + 0.8)
    said = special.expit(log_odds)
    found = calibrate.fit(said[holds], said[~holds])
    assert found.scale == pytest.approx(0.3, abs=0.01) and found.shift == pytest.approx(0.8, abs=0.04)
    calibrated = found(tf.constant(said, tf.float32)).numpy()
    before, after = (binary_scores.calibration_error(p[holds], p[~holds]) for p in (said, calibrated))
    assert before > 0.2 and after < 0.01
    order = [binary_scores.auroc(p[holds], p[~holds]) for p in (said, calibrated)]
    assert order[1] == pytest.approx(order[0], abs=1e-4)


def test_what_is_calibrated_stays_and_what_nothing_contradicts_is_no_certainty():
    rng = np.random.default_rng(1)
    said = rng.random(40_000)
    holds = rng.random(40_000) < said
    found = calibrate.fit(said[holds], said[~holds])
    assert found.scale == pytest.approx(1, abs=0.03) and found.shift == pytest.approx(0, abs=0.03)
    apart = calibrate.fit([0.9, 0.8], [0.1])
    assert 0.6 < apart(tf.constant(0.9)).numpy() < 0.9 and np.isfinite(dataclasses.astuple(apart)).all()
    for truths, others in (([], [0.1]), ([0.1], [])):
        with pytest.raises(ValueError, match="it takes some of both"):
            calibrate.fit(truths, others)


def test_the_ends_stay_finite_and_nothing_stays_nothing():
    said = tf.constant([0.0, 1e-9, 0.5, 1.0])
    with tf.GradientTape() as tape:
        tape.watch(said)
        found = STRONG(said)
    expected = [0.0, *special.expit(0.1 * special.logit([1e-6, 0.5, 1 - 1e-6]) + 2)]
    np.testing.assert_allclose(found, expected, rtol=2e-2)
    assert np.isfinite(tape.gradient(found, said)).all()


def test_a_split_calibrates_and_twice_is_once(copy, prepared):
    data_dir, info = prepared
    before = answer_of(copy)
    found = []
    for _ in range(2):
        model, config, _, step = checkpoints.load_model(copy)
        found.append(calibrate.calibrate(model, config, info, "val", step, data_dir=data_dir, model_dir=copy))
    assert found[0] == found[1] != Calibration(1.0, 0.0)
    after, said = answer_of(copy), before.answer_probability
    assert after.answer_probability == pytest.approx(
        special.expit(found[0].scale * special.logit(said) + found[0].shift), abs=1e-4
    )
    assert after.answer_probability != pytest.approx(said, abs=1e-3)
    same = {"answer_probability": said}
    for name, value in dataclasses.asdict(dataclasses.replace(after, **same)).items():
        np.testing.assert_array_equal(value, getattr(before, name), err_msg=name)


def test_packed_and_exported_models_keep_it(copy, tmp_path):
    before = answer_of(copy)
    STRONG.save(copy, step=7, queries=10)
    expected = answer_of(copy)
    assert abs(expected.answer_probability - before.answer_probability) > 0.1
    packing.pack(copy, str(tmp_path / "half"), TEXTS)
    assert answer_of(str(tmp_path / "half")).answer_probability == pytest.approx(expected.answer_probability, abs=0.02)
    export_saved_model.export(copy, str(tmp_path / "exported"), num_relations=5)
    refer = tf.saved_model.load(str(tmp_path / "exported" / "1")).signatures["refer"]
    words = {
        part: tf.constant([[name, ""]]) for part, name in zip(("subject", "relation", "object"), QUERY)
    }  # The second is padding.
    found = refer(image=tf.constant([FILES["png"]]), **words)["answer_probability"].numpy()
    np.testing.assert_allclose(found, [[expected.answer_probability, 0.0]], atol=1e-5)


@pytest.mark.parametrize(
    "text, message",
    [
        ("{", "is no calibration: JSONDecodeError"),
        ('{"scale": 1, "step": 7}', "is no calibration: KeyError: 'shift'"),
        ('{"scale": 0, "shift": 0, "step": 7}', "scale is 0, it must be above 0"),
        ('{"scale": NaN, "shift": 0, "step": 7}', "scale is nan, it must be above 0"),
    ],
)
def test_a_file_that_is_no_calibration_is_named(copy, text, message):
    with open(os.path.join(copy, "calibration.json"), "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(ValueError, match=f"calibration.json.* {message}|calibration.json: {message}"):
        checkpoints.load_model(copy)


def test_that_of_other_weights_is_left_out(copy):
    before = answer_of(copy)
    STRONG.save(copy, step=6, queries=10)
    assert checkpoints.load_model(copy)[0].calibration is None
    assert answer_of(copy).answer_probability == before.answer_probability
    with open(os.path.join(copy, "calibration.json"), encoding="utf-8") as file:
        assert json.load(file) == {"scale": 0.1, "shift": 2.0, "step": 6, "queries": 10}


def test_systems_without_an_answer_probability_are_refused(prepared):
    data_dir, info = prepared
    config = config_lib.Config(model="ssas")
    with pytest.raises(ValueError, match="the system 'ssas' has no answer_probability"):
        calibrate.calibrate(None, config, info, "val", 1, data_dir=data_dir, model_dir=data_dir)
