"""What a run starts from on one device and on two, and what is refused before it would crash."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tiny
import tiny_data

from dsg_tf import checkpoints
from dsg_tf.process import environment
from dsg_tf.training import distribution, start


@pytest.fixture(scope="module")
def donor(tmp_path_factory):
    """A model directory of a smaller system that keeps an average, and what `load_model` makes of it."""
    folder = str(tmp_path_factory.mktemp("donor"))
    tiny_data.write_model_dir(folder, tiny.config(model="dsg_no_sgl"))
    return folder, checkpoints.load_model(folder)[0]


@pytest.mark.parametrize("devices", [1, 2])
def test_matching_weights_are_read_on_all_devices(devices, donor, two_devices, caplog):
    folder, expected = donor
    config = tiny.config(init_checkpoint=folder, init_modules=("matching",), seed=3)
    strategy = two_devices if devices == 2 else distribution.make_strategy("mirrored")
    caplog.set_level("INFO", logger="absl")
    with strategy.scope():
        model = tiny.model(config)
        start.initialize(model, config, None)
    for part in ("detector", "entity_features", "pair_features", "graph", "classifier", "refiner"):
        found, wanted = getattr(model, part).variables, getattr(expected, part).variables
        assert len(found) == len(wanted) > 0
        for variable, value in zip(found, wanted):
            copies = strategy.experimental_local_results(variable)
            assert len(copies) == devices
            for copy in copies:
                np.testing.assert_array_equal(copy.numpy(), value.numpy(), err_msg=variable.name)
    assert f"--init_checkpoint={folder} has no " in caplog.text and "model/labeler/entity/kernel" in caplog.text


@pytest.mark.parametrize(
    "changes, frozen",
    [
        ({"batch_norm": "frozen"}, "--batch_norm=frozen keeps .* no --init_checkpoint gives"),
        ({"batch_norm": "frozen_all", "freeze_stem": True}, "--batch_norm=frozen_all --freeze_stem keeps"),
        (
            {"batch_norm": "frozen", "init_checkpoint": "somewhere", "init_modules": ("decoder",)},
            "but --init_checkpoint=somewhere --init_modules=decoder gives",
        ),
        ({"batch_norm": "batch"}, None),
        ({"batch_norm": "frozen", "init_checkpoint": "somewhere", "init_modules": ("backbone",)}, None),
    ],
)
def test_frozen_norms_without_weights_are_a_warning(changes, frozen, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints, "initialize", lambda *arguments: None)
    start.initialize(None, tiny.config(**changes), None)
    assert bool(caplog.messages) == bool(frozen) and len(caplog.messages) <= 1
    assert frozen is None or re.search(frozen, caplog.messages[0])


@pytest.mark.parametrize("onednn, width", [(True, 0.125), (True, 0.25), (False, 0.125)])
def test_convolutions_in_which_onednn_corrupts_memory_are_refused(onednn, width, monkeypatch):
    monkeypatch.setattr(environment, "onednn_is_on", lambda: onednn)
    config = tiny.config(model="no_dsg", backbone_width=width)
    model = tiny.model(config)
    if not onednn or width > 0.125:
        start.refuse_what_crashes(model, config)
        return
    message = (
        r"--backbone_width=0\.125 gives .* \(1 x 1, stride 2\) 8 input channels.*larger --backbone_width.*ONEDNN_OPTS=0"
    )
    with pytest.raises(ValueError, match=message):
        start.refuse_what_crashes(model, config)
