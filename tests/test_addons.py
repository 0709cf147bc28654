"""The extra [addons]: a clear error without it; with it one step of each option, and its GIoU against a hand count."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
import tiny
import tiny_data

from dsg_tf.objectives import box_losses
from dsg_tf.training import loop, optimizers

INSTALLED = importlib.util.find_spec("tensorflow_addons") is not None
without_addons = pytest.mark.skipif(INSTALLED, reason="tensorflow-addons is installed")
needs_addons = pytest.mark.skipif(not INSTALLED, reason="tensorflow-addons is not installed")


@without_addons
@pytest.mark.parametrize("name", ["lamb", "lookahead"])
def test_optimizer_names_the_extra(name):
    with pytest.raises(ValueError, match=rf"--optimizer={name} needs tensorflow-addons.*\[addons\]"):
        optimizers.make_optimizer(name, 0.1)


@without_addons
def test_giou_names_the_extra():
    with pytest.raises(ValueError, match=r"--refine_loss=giou needs tensorflow-addons.*\[addons\]"):
        box_losses.make_refine_loss("giou", 1.0)


def train(folder, name, steps, info, **changes):
    """Trains for ``steps`` steps in all, from the last checkpoint where there is one."""
    settings = tiny.config(
        data_dir=str(folder / "data"), model_dir=str(folder / name), epochs=steps / 2, num_halvings=0, **changes
    )
    trainer = loop.Trainer(settings, info, tf.distribute.MirroredStrategy(["/cpu:0"]), lambda model, step: {})
    before = [v.numpy() for v in trainer.model.trainable_variables]
    trainer.train()
    return before, [v.numpy() for v in trainer.model.trainable_variables]


@pytest.mark.stack
@needs_addons
@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "lamb", "weight_decay": 0.01}, {"optimizer": "lookahead"}, {"refine_loss": "giou"}],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_steps_change_the_weights_and_go_on_where_they_ended(changes, tmp_path):
    info = tiny_data.write(str(tmp_path / "data"), {"train": 4})
    before, once = train(tmp_path, "a", 1, info, **changes)
    assert all(np.isfinite(v).all() for v in once)
    moved = [not np.array_equal(old, new) for old, new in zip(before, once)]
    assert sum(moved) > 0.5 * len(moved)
    _, resumed = train(tmp_path, "a", 2, info, **changes)
    _, uninterrupted = train(tmp_path, "b", 2, info, **changes)
    for one, other in zip(resumed, uninterrupted):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.stack
@needs_addons
def test_lamb_decays_kernels_only():
    variables = [tf.Variable([1.0, 2.0], name=f"layer/{name}") for name in ("kernel", "bias", "gamma", "embeddings")]
    optimizer = optimizers.make_optimizer("lamb", 0.01, 0.1)
    optimizer.apply_gradients([(tf.zeros([2]), v) for v in variables])
    moved = [v.name for v in variables if not np.array_equal(v.numpy(), [1.0, 2.0])]
    assert moved == ["layer/kernel:0"]


@pytest.mark.stack
@needs_addons
def test_lookahead_refuses_weight_decay():
    with pytest.raises(ValueError, match="--weight_decay=0.1 does not go with --optimizer=lookahead"):
        optimizers.make_optimizer("lookahead", 0.01, 0.1)


@pytest.mark.stack
@needs_addons
def test_giou_loss_by_hand():
    giou = box_losses.make_refine_loss("giou", 1.0)
    proposals = tf.constant([[[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 2.0]]])
    truth = tf.constant([[[0.0, 0.0, 4.0, 4.0], [2.0, 2.0, 6.0, 6.0], [0.0, 4.0, 2.0, 6.0]]])
    found = giou(tf.zeros([1, 3, 4]), proposals, truth, tf.constant([[True, True, True]]))
    # 1 - (IoU - (hull - union) / hull): equal; 4 of 28 in a hull of 36; apart, union 8 in a hull of 12.
    expected = [0.0, 1 - (4 / 28 - (36 - 28) / 36), 1 - (0 - (12 - 8) / 12)]
    np.testing.assert_allclose(found.numpy(), [expected], atol=1e-6)  # [B, N], B = 1 included.
    # A shift of half a box, deltas times 10: the second proposal lands on its truth.
    moved = giou(
        tf.constant([[[0.0] * 4, [5.0, 5.0, 0.0, 0.0], [0.0] * 4]]), proposals, truth, tf.constant([[True, True, True]])
    )
    assert moved.numpy()[0, 1] == pytest.approx(0.0, abs=1e-6)
