"""Weights to start from: of Model Garden and of this program, whole or in part, and what does not fit."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data
from paths import SHARED_DATA

from dsg_tf import checkpoints
from dsg_tf.model.moving_average import MovingAverage, named_variables

LITE0 = SHARED_DATA.parent / "weights" / "efficientnet_lite0_imagenet" / "ckpt"


@pytest.fixture(scope="module")
def source():
    """The model that the checkpoints are of: other numbers everywhere than a new model has."""
    model = tiny.model(tiny.config(seed=1))
    for variable in model.variables:
        variable.assign(variable + 0.25)
    return model


@pytest.fixture(scope="module")
def built():
    return tiny.model(tiny.config())


@pytest.fixture
def model(built):
    """A model with its weights at zero."""
    for variable in built.variables:
        variable.assign(tf.zeros_like(variable))
    return built


@pytest.fixture(scope="module")
def average(source):
    average = MovingAverage(named_variables(source), 0.9)
    for value in average.averages:
        value.assign(value + 1.0)
    return average


def holds(part, values) -> bool:
    """Whether the variables of ``part`` have these values (all of them), not whether some do."""
    assert len(part.variables) == len(values)
    equal = [np.array_equal(v.numpy(), np.asarray(value)) for v, value in zip(part.variables, values)]
    assert len(set(equal)) == 1, "read in part"
    return equal[0]


def is_zero(part) -> bool:
    return all(not v.numpy().any() for v in part.variables)


def test_model_garden_backbone_goes_into_the_backbone_only(model, source, tmp_path):
    path = tf.train.Checkpoint(backbone=source.detector.backbone).write(str(tmp_path / "ckpt"))
    checkpoints.initialize(model, path, ("backbone",))
    assert holds(model.detector.backbone, source.detector.backbone.variables)
    rest = [
        model.detector.decoder,
        model.detector.rpn_head,
        model.entity_features,
        model.pair_features,
        model.graph,
        model.classifier,
        model.refiner,
        model.labeler,
    ]
    assert all(is_zero(part) for part in rest)


def test_model_garden_detector_goes_into_the_detector(model, source, tmp_path):
    parts = {name: getattr(source.detector, name) for name in ("backbone", "decoder", "rpn_head")}
    checkpoints.initialize(model, tf.train.Checkpoint(**parts).write(str(tmp_path / "ckpt")), ("all",))
    assert holds(model.detector, source.detector.variables)
    assert is_zero(model.classifier) and is_zero(model.graph)


def test_own_checkpoint_with_all(model, source, tmp_path):
    path = tf.train.Checkpoint(model=source, step=tf.Variable(3)).write(str(tmp_path / "ckpt"))
    checkpoints.initialize(model, path, ("all",))
    assert holds(model, source.variables)


def test_own_checkpoint_gives_its_average(model, source, average, tmp_path):
    path = tf.train.Checkpoint(model=source, average=average).write(str(tmp_path / "ckpt"))
    checkpoints.initialize(model, path, ("all",))
    assert holds(model, average.averages)


def test_own_checkpoint_of_version_0_2_gives_its_average(model, source, average, tmp_path):
    before = tf.train.Checkpoint(averages=average.averages)
    path = tf.train.Checkpoint(model=source, average=before).write(str(tmp_path / "ckpt"))
    checkpoints.initialize(model, path, ("all",))
    assert holds(model, average.averages)


def test_averages_have_the_names_of_the_weights(source, tmp_path):
    written = tf.train.list_variables(tf.train.Checkpoint(model=source).write(str(tmp_path / "ckpt")))
    names = [name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") for name, _ in written if name.startswith("model/")]
    assert {f"model/{name}" for name in named_variables(source)} == set(names)
    assert all(one is other for one, other in zip(named_variables(source).values(), source.variables))


def test_own_checkpoint_in_part_and_by_its_model_directory(model, source, average, tmp_path):
    folder = checkpoints.checkpoint_dir(str(tmp_path))
    tf.train.CheckpointManager(tf.train.Checkpoint(model=source, average=average), folder, 1).save()
    checkpoints.initialize(model, str(tmp_path), ("backbone", "decoder"))
    assert holds(model.detector.backbone, source.detector.backbone.variables)
    assert holds(model.detector.decoder, source.detector.decoder.variables)
    assert is_zero(model.detector.rpn_head) and is_zero(model.classifier)


def test_what_does_not_fit_is_listed_with_both_shapes(source, tmp_path):
    path = tf.train.Checkpoint(backbone=source.detector.backbone).write(str(tmp_path / "ckpt"))
    wide = tiny.model(tiny.config(backbone_width=0.5, model="no_dsg"))
    before = [v.numpy() for v in wide.variables]
    with pytest.raises(ValueError) as caught:
        checkpoints.initialize(wide, path, ("backbone",))
    message = str(caught.value)
    assert f"--init_checkpoint={path} does not fit the model in 65 of 65 variables" in message.replace("\n", " ")
    assert "shape [7, 7, 3, 16] in the checkpoint, [7, 7, 3, 32] in the model" in message
    assert message.count("in the checkpoint, [") == 10 and "and 55 more" in message
    assert holds(wide, before)  # Nothing was read.


def test_what_is_missing_is_listed(model, source, tmp_path):
    path = tf.train.Checkpoint(backbone=source.detector.backbone).write(str(tmp_path / "ckpt"))
    with pytest.raises(ValueError, match=r"decoder/.*: not in the checkpoint"):
        checkpoints.initialize(model, path, ("all",))
    assert is_zero(model)


def test_matching_reads_what_is_there_and_names_the_rest(tmp_path, caplog):
    tiny_data.write_model_dir(str(tmp_path), tiny.config())
    donor, *_ = checkpoints.load_model(str(tmp_path))
    model = tiny.model(tiny.config(pair_units=4, seed=5))
    own = model.describe_pairs.kernel.numpy()
    caplog.set_level("INFO", logger="absl")
    checkpoints.initialize(model, str(tmp_path), ("matching",))
    assert holds(donor.graph, [v.numpy() for v in model.graph.variables])
    assert holds(donor.detector, [v.numpy() for v in model.detector.variables])
    np.testing.assert_array_equal(model.describe_pairs.kernel, own)
    assert "model/describe_pairs/kernel" in caplog.text and "model/classifier/pair_term/relation" in caplog.text
    with pytest.raises(ValueError, match="shape"):
        checkpoints.initialize(tiny.model(tiny.config(hidden_units=9)), str(tmp_path), ("matching",))


def test_no_checkpoint_at_the_path(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"--init_checkpoint={tmp_path}/nothing: no checkpoint there"):
        checkpoints.initialize(model, str(tmp_path / "nothing"), ("all",))


def test_load_model_needs_a_trained_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model trained by train.py"):
        checkpoints.load_model(str(tmp_path))


@pytest.mark.skipif(not LITE0.with_name("ckpt.index").exists(), reason=f"{LITE0} is not there")
def test_imagenet_weights_fit_efficientnet_lite0():
    model = tiny.model(tiny.config(backbone="efficientnet", backbone_depth="lite0", model="no_dsg"))
    checkpoints.initialize(model, str(LITE0), ("backbone",))
    reader = tf.train.load_checkpoint(str(LITE0))
    stored = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if name.startswith("backbone/")]
    backbone = model.detector.backbone.variables
    assert len(backbone) > 200
    for variable in backbone:
        value = variable.numpy()
        assert any(v.shape == value.shape and np.array_equal(v, value) for v in stored), variable.name


DATA = ".data-00000-of-00001"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """A directory with checkpoints of steps 3, 6, 9 and 12, saved while the clock ran backwards."""
    step = tf.Variable(0, dtype=tf.int64)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(step=step), str(tmp_path), max_to_keep=9)
    for number in (3, 6, 9, 12):
        monkeypatch.setattr(time, "time", lambda number=number: 2e9 - 1e6 * number)
        step.assign(number)
        manager.save(checkpoint_number=number)
        for path in tmp_path.glob(f"ckpt-{number}.*"):
            os.utime(path, (2e9 - 1e6 * number,) * 2)
    assert sorted(tmp_path.glob("*.index"), key=os.path.getmtime)[0].name == "ckpt-12.index"
    return tmp_path


def test_the_newest_is_that_of_the_last_step_whatever_the_clock_says(saved):
    assert checkpoints.newest(str(saved)) == str(saved / "ckpt-12")
    (saved / "checkpoint").unlink()  # TensorFlow's list of them.
    assert checkpoints.newest(str(saved)) == str(saved / "ckpt-12")


def cut(path, size):
    with open(path, "r+b") as file:
        file.truncate(size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "data cut": lambda p: cut(p / f"ckpt-12{DATA}", 5),
    "data empty": lambda p: cut(p / f"ckpt-12{DATA}", 0),
    "data missing": lambda p: os.remove(p / f"ckpt-12{DATA}"),
    "data wrong": lambda p: flip(p / f"ckpt-12{DATA}"),
    "index cut": lambda p: cut(p / "ckpt-12.index", 50),
    "index empty": lambda p: cut(p / "ckpt-12.index", 0),
    "index missing": lambda p: os.remove(p / "ckpt-12.index"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_checkpoint_is_passed_over_with_a_warning(damage, saved, caplog):
    DAMAGES[damage](saved)
    assert checkpoints.newest(str(saved)) == str(saved / "ckpt-9")
    assert f"{saved}/ckpt-12 cannot be read" in caplog.text


def test_no_whole_checkpoint_is_an_error_that_names_them(saved):
    for number in (3, 6, 9, 12):
        cut(saved / f"ckpt-{number}{DATA}", 5)
    message = f"no checkpoint in {saved} can be read, neither {saved}/ckpt-12 nor {saved}/ckpt-9"
    with pytest.raises(ValueError, match=message):
        checkpoints.newest(str(saved))


def test_no_checkpoint_is_none(tmp_path):
    assert checkpoints.newest(str(tmp_path)) is None and checkpoints.newest(str(tmp_path / "nothing")) is None


def test_what_a_killed_save_left_is_removed_and_whole_checkpoints_stay(saved):
    whole = set(os.listdir(saved))
    (saved / "ckpt-15_temp").mkdir()
    for name in (
        f"ckpt-15_temp/part-00000-of-00001{DATA}.tempstate1",
        f"ckpt-14{DATA}",
        "ckpt-14.index.tempstate7",
        "checkpoint.tmp123",
    ):
        (saved / name).write_text("half")
    checkpoints.remove_unfinished(str(saved))
    assert set(os.listdir(saved)) == whole


def test_load_model_takes_the_checkpoint_before_a_broken_one(tmp_path):
    tiny_data.write_model_dir(str(tmp_path), tiny.config(model="no_dsg"))
    folder = tmp_path / "checkpoints"
    for end in (DATA, ".index"):
        (folder / f"ckpt-8{end}").write_bytes((folder / f"ckpt-7{end}").read_bytes())
    cut(folder / f"ckpt-8{DATA}", 1000)
    assert checkpoints.load_model(str(tmp_path))[-1] == 7
