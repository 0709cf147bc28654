"""A detector without anchors as the start of an RPN, and the network around it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf import build, checkpoints

SIZE = (64, 96)
CONFIG = tiny.config(
    backbone="nanodet_plus",
    backbone_depth="m",
    backbone_width=1.0,
    decoder="identity",
    rpn_max_level=6,
    roi_max_level=5,
    nms_of_levels=False,
    pixel_mean=(123.675, 116.28, 103.53),
    pixel_std=(58.395, 57.12, 57.375),
    score_threshold=0.0,
)


@pytest.fixture(scope="module")
def model():
    made = tiny.model(CONFIG)
    checkpoints.initialize(made, "models/nanodet_plus_m", ["backbone", "rpn_head"])
    return made


@pytest.fixture(scope="module")
def picture():
    coarse = np.random.default_rng(0).uniform(0, 255, [2, 6, 9, 3])
    return tf.cast(tf.image.resize(coarse, SIZE), tf.uint8), tf.constant([SIZE, (50, 90)], tf.float32)


def test_it_starts_as_the_detector(model, picture):
    found = model.detector(*picture)
    levels = model.detector.backbone(model.detector.normalize(*picture))
    head = model.detector.rpn_head.head(levels)
    order = ["3", "4", "5", "6"]
    logits = np.concatenate([head[k][1].numpy().reshape([2, -1, 80]) for k in order], axis=1)
    boxes = np.concatenate([head[k][2].numpy().reshape([2, -1, 4]) for k in order], axis=1)
    features = np.concatenate([head[k][0].numpy().reshape([2, -1, 96]) for k in order], axis=1)
    np.testing.assert_allclose(found["rpn_scores"], logits.max(-1), atol=1e-5)
    np.testing.assert_array_equal(found["rpn_boxes"], 0 * boxes)
    np.testing.assert_allclose(found["anchors"], boxes, atol=1e-4)
    # The best proposal is the best point's box, and brings what its head sees there.
    for image, (height, width) in enumerate(picture[1].numpy()):
        clipped = np.clip(boxes[image], 0, [height, width, height, width])
        usable = np.all(clipped[:, 2:] - clipped[:, :2] > 1, axis=1)
        best = np.where(usable, logits[image].max(-1), -np.inf).argmax()
        np.testing.assert_allclose(found["proposals"][image, 0], clipped[best], atol=1e-3)
        expected = np.concatenate([1 / (1 + np.exp(-logits[image, best])), features[image, best]])
        np.testing.assert_allclose(found["descriptors"][image, 0], expected, atol=1e-4)


def test_a_given_box_brings_what_the_head_sees_at_the_nearest_anchor(model, picture):
    found = model.detector(*picture)
    given = found["proposals"], found["valid"]
    again = model.detector(*picture, given=given)
    np.testing.assert_array_equal(again["proposals"], found["proposals"])
    difference = np.abs(again["descriptors"].numpy() - found["descriptors"].numpy()).max(-1)
    assert (difference[found["valid"].numpy()] < 1e-4).mean() > 0.6  # Clipped boxes may have another nearest anchor.


def test_the_network_learns_with_it(model, picture):
    batch = {**tiny.batch(CONFIG, 2), "image": picture[0]}
    losses = build.build_losses(CONFIG, tiny.NUM_RELATIONS)
    with tf.GradientTape() as tape:
        terms = losses(model(batch, training=True), batch)
        total = losses.total(terms)
    gradients = tape.gradient(total, model.trainable_variables)
    assert np.isfinite(float(total))
    moved = [g is not None and np.abs(tf.convert_to_tensor(g)).max() > 0 for g in gradients]
    assert np.mean(moved) > 0.8


def test_a_rate_of_zero_keeps_the_detector_and_trains_what_is_new():
    model = tiny.model(dataclasses.replace(CONFIG, init_rate=0.0, init_modules=("backbone", "rpn_head")))
    trained = {id(variable) for variable in model.trainable_variables}
    backbone, rpn = model.detector.backbone, model.detector.rpn_head
    assert not trained & {id(variable) for variable in [*backbone.variables, *rpn.head.variables]}
    new = [rpn.hidden.kernel, rpn.score.kernel, rpn.deltas.kernel, model.labeler.entity.kernel]
    assert trained >= {id(variable) for variable in new}


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"backbone_depth": "50"}, ["--backbone_depth=50", "nanodet_plus", "known is m"]),
        ({"backbone_width": 0.5}, ["--backbone_width=0.5", "--backbone=nanodet_plus"]),
        ({"rpn_max_level": 5}, ["--rpn_max_level=5", "--rpn_max_level=6"]),
        ({"decoder": "fpn", "fpn_max_level": 6}, ["--decoder=fpn", "--decoder=identity"]),
    ],
)
def test_what_it_cannot_be_is_an_error_that_names_the_flags(changes, names):
    settings = {field: getattr(CONFIG, field) for field in ("backbone", "backbone_depth", "backbone_width", "decoder")}
    settings |= {"rpn_max_level": 6, "image_height": 64, "image_width": 128}
    with pytest.raises(ValueError) as raised:
        build.build_detector(tiny.config(**{**settings, **changes}))
    assert all(name in str(raised.value) for name in names)
