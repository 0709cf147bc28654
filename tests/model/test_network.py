"""The whole network's answers: what must not matter to them, and its variables."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny
from networks import CONFIG, SIGNATURE, eagerly, images, make_network

from dsg_tf import boxes as box_lib
from dsg_tf import build
from dsg_tf.model import proposals

ANSWERS = (
    "role_logits",
    "role_probabilities",
    "subject_mask",
    "object_mask",
    "subject_scores",
    "object_scores",
    "answer_probability",
)


def inference(model):
    """Compiled once for any number of images and of queries; takes no labels."""
    function = tf.function(lambda inputs: model(inputs, training=False), [SIGNATURE], autograph=False)
    return lambda inputs: {k: v.numpy() for k, v in function({name: inputs[name] for name in SIGNATURE}).items()}


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def answer(network):
    return inference(network)


def compare(first, second, atol=1e-4):
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], atol=atol, rtol=1e-4, err_msg=name)


def one_image(values, k):
    return {name: value[k : k + 1] for name, value in values.items()}


def test_an_image_alone_is_the_same_image_in_a_batch(answer):
    inputs = images()
    together = answer(inputs)
    del together["anchors"]  # Fixed ones are there once.
    assert together["role_logits"].shape == (3, 3, CONFIG.num_boxes, 4)
    assert together["role_logits"].std() > 0.05 and np.abs(together["deltas"]).max() > 0.05  # Not trivially equal.
    for k in range(3):
        compare(
            {name: value for name, value in answer(one_image(inputs, k)).items() if name in together},
            one_image(together, k),
        )


def test_queries_are_answered_each_on_its_own(answer):
    inputs, order = images(), [2, 0, 1]
    expected = answer(inputs)
    padded = answer({**inputs, "queries": np.pad(inputs["queries"], [(0, 0), (0, 4), (0, 0)])})
    compare({**padded, **{name: padded[name][:, :3] for name in ANSWERS}}, expected, atol=1e-5)
    permuted = answer({**inputs, "queries": inputs["queries"][:, order]})
    compare(permuted, {**expected, **{name: expected[name][:, order] for name in ANSWERS}}, atol=1e-5)
    none = answer({**inputs, "queries": inputs["queries"][:, :0]})
    assert none["role_logits"].shape == (3, 0, CONFIG.num_boxes, 4)


def test_what_lies_in_the_padding_of_an_image_does_not_matter(answer):
    inputs = images()
    cleaned = {**inputs, "image": inputs["image"].copy()}
    cleaned["image"][1, 50:] = 0
    cleaned["image"][2, :, 62:] = 0
    compare(answer(cleaned), answer(inputs), atol=1e-5)


def test_boxes_stay_inside_the_image(answer):
    inputs = images()
    found = answer(inputs)
    for name in ("boxes", "proposals"):
        assert np.all(found[name] >= 0)
        assert np.all(found[name] <= np.tile(inputs["image_size"], 2)[:, None] + 1e-4)


@pytest.mark.parametrize("value", [0, 255])
def test_an_empty_image_gives_finite_answers_and_a_box(answer, value):
    inputs = images(size=1)
    found = answer({**inputs, "image": np.full_like(inputs["image"], value)})
    assert all(np.all(np.isfinite(result)) for result in found.values())
    assert found["valid"].any()


def test_the_score_threshold_keeps_good_boxes_and_always_the_best(network):
    inputs = images()
    rpn = network.detector.rpn_head
    bias = next(v for v in rpn.trainable_variables if v.shape == [len(CONFIG.anchor_scales)])
    start, kept = bias.numpy(), {}
    for shift in (0.0, -30.0, 30.0):
        bias.assign(start + shift)
        every = network.detector(inputs["image"], inputs["image_size"], training=True)
        found = network.detector(inputs["image"], inputs["image_size"], training=False)
        scores = every["proposal_scores"].numpy()
        assert np.all(every["valid"])
        best = scores.max(axis=1, keepdims=True)
        expected = scores >= np.minimum(0.6, best - proposals.SCORE_MARGIN)
        np.testing.assert_array_equal(found["valid"], expected)
        np.testing.assert_allclose(found["proposals"], every["proposals"] * expected[..., np.newaxis], atol=1e-5)
        kept[shift] = expected.sum()
        assert expected.any(axis=1).all()
    bias.assign(start)
    assert 3 <= kept[0.0] < 3 * CONFIG.num_boxes == kept[30.0]


def test_answers_end_at_whole_pixels_of_the_original_image(network):
    """Only where the network is told how large it was, and only at inference."""
    inputs = images()
    twice = {**inputs, "original_size": 2 * inputs["image_size"]}
    plain = network({k: tf.constant(v) for k, v in twice.items()})["boxes"].numpy()
    network.whole_pixels = True
    whole, untold, training = (
        network({k: tf.constant(v) for k, v in given.items()}, training=trains)["boxes"].numpy()
        for given, trains in ((twice, False), (inputs, False), (twice, True))
    )
    network.whole_pixels = False
    np.testing.assert_array_equal(whole, np.round(2 * plain) / 2)
    np.testing.assert_array_equal(untold, plain)
    assert (training % 0.5 != 0).any()


def test_a_fresh_model_with_loaded_weights_answers_the_same(network, answer, tmp_path):
    """Whichever region operator it has."""
    path = tf.train.Checkpoint(model=network).write(str(tmp_path / "checkpoint"))
    fresh = tiny.model(tiny.config(score_threshold=0.6, seed=1, roi_op="crop_and_resize"))
    other, inputs = eagerly(fresh), images()
    assert not np.allclose(answer(inputs)["role_logits"], other(inputs)["role_logits"], atol=1e-2)
    tf.train.Checkpoint(model=fresh).read(path).assert_consumed()
    compare(other(inputs), answer(inputs))


def test_refined_boxes_of_one_object_answer_once(network, answer):
    strict, inputs = tiny.model(tiny.config(score_threshold=0.6, refined_nms_iou=0.2)), images()
    strict.set_weights(network.get_weights())
    every, found = answer(inputs), eagerly(strict)(inputs)
    np.testing.assert_allclose(found["boxes"], every["boxes"], atol=1e-4)  # All are refined, and in the graph.
    assert found["valid"].sum() < every["valid"].sum() and np.all(found["valid"] <= every["valid"])
    overlaps = box_lib.iou(found["boxes"], found["boxes"]).numpy() - np.eye(CONFIG.num_boxes)
    pairs = found["valid"][:, :, None] & found["valid"][:, None]
    assert overlaps[pairs].max() <= 0.2 + 1e-5
    assert not (found["subject_mask"] & ~found["valid"][:, None]).any()


@pytest.mark.parametrize("hidden", ["relation", "image"])
def test_a_control_does_not_see_what_is_hidden(network, answer, hidden):
    other, inputs = tiny.model(tiny.config(score_threshold=0.6, hide=hidden)), images()
    other.set_weights(network.get_weights())
    changed = (
        {**inputs, "queries": inputs["queries"] + [0, 1, 0]}
        if hidden == "relation"
        else {**inputs, "image": 255 - inputs["image"]}
    )
    changed["queries"] = changed["queries"] % tiny.NUM_RELATIONS
    inputs = {**inputs, "queries": inputs["queries"] % tiny.NUM_RELATIONS}
    control = eagerly(other)
    compare(control(inputs), control(changed), atol=1e-6)
    assert not np.allclose(answer(inputs)["role_logits"], answer(changed)["role_logits"], atol=1e-3)


@pytest.mark.parametrize("everything", [True, False])
def test_training_sees_the_boxes_that_inference_sees_unless_it_is_to_see_all(network, everything):
    model, inputs = network, images()
    detector_ = model.detector
    selection = detector_.selection
    detector_.selection = dataclasses.replace(selection, train_on_all_proposals=everything)
    try:
        trained, asked = (detector_(inputs["image"], inputs["image_size"], training=t) for t in (True, False))
    finally:
        detector_.selection = selection
    assert not np.all(asked["valid"])
    if everything:
        assert np.all(trained["valid"])
    else:
        for name in ("valid", "proposals", "proposal_scores"):
            np.testing.assert_allclose(trained[name], asked[name], atol=1e-5)


def test_parameters_are_counted_by_part(network):
    parts = build.count_parameters(network)
    assert parts["total"] == sum(int(tf.size(v)) for v in network.trainable_variables)
    assert parts["refiner"] == (CONFIG.node_units + 1) * 4
    assert parts["labeler"] == (CONFIG.node_units + 1) * (tiny.NUM_ENTITIES + tiny.NUM_RELATIONS)
    assert {"detector", "entity_features", "pair_features", "graph", "classifier"} < set(parts)
