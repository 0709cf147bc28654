"""The whole network: what must not matter to its answers, one training step, and its variables."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf import boxes as box_lib
from dsg_tf import build
from dsg_tf.keras import keras
from dsg_tf.model import detector, proposals

CONFIG = tiny.config(score_threshold=0.6)
SIGNATURE = {
    "image": tf.TensorSpec([None, *CONFIG.image_size, 3], tf.uint8),
    "image_size": tf.TensorSpec([None, 2], tf.float32),
    "queries": tf.TensorSpec([None, None, 3], tf.int32),
}
ANSWERS = (
    "role_logits",
    "role_probabilities",
    "subject_mask",
    "object_mask",
    "subject_scores",
    "object_scores",
    "answer_probability",
)


def make_network(**changes):
    """A model with weights far from their start: proposals with distinct scores, boxes that do move."""
    model = tiny.model(tiny.config(score_threshold=0.6, **changes))
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        scale = 0.5 * variable.numpy().std() + 0.02
        variable.assign_add(scale * rng.normal(size=variable.shape))
    return model


def inference(model):
    """Compiled once for any number of images and of queries; takes no labels."""
    function = tf.function(lambda inputs: model(inputs, training=False), [SIGNATURE], autograph=False)
    return lambda inputs: {k: v.numpy() for k, v in function({name: inputs[name] for name in SIGNATURE}).items()}


def eagerly(model):
    """The same without a graph, which takes longer to make than a few calls."""
    return lambda inputs: {
        k: v.numpy() for k, v in model({name: tf.constant(inputs[name]) for name in SIGNATURE}, training=False).items()
    }


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def no_dsg_network():
    return make_network(model="no_dsg")


@pytest.fixture(scope="module")
def no_dsg_br_network():
    return make_network(model="no_dsg_br", edge_level=2)


@pytest.fixture(scope="module")
def beyond_paper_network():
    return make_network(gated_relations=True, edge_level=2)


@pytest.fixture(scope="module")
def answer(network):
    return inference(network)


def images(size=3, seed=0, queries=3):
    rng = np.random.default_rng(seed)
    height, width = CONFIG.image_size
    limits = [tiny.NUM_ENTITIES, tiny.NUM_RELATIONS, tiny.NUM_ENTITIES]
    return {
        "image": rng.integers(0, 256, [size, height, width, 3]).astype(np.uint8),
        "image_size": np.array([[64, 96], [50, 96], [64, 61.5]] * size, np.float32)[:size],
        "queries": rng.integers(0, limits, [size, queries, 3]).astype(np.int32),
    }


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


def matched_batch(model, size=2):
    """A training batch whose true boxes lie on proposals, so that every loss term has something to say."""
    batch = tiny.batch(CONFIG, size)
    found = model.detector(batch["image"], batch["image_size"], training=True)
    boxes = found["proposals"].numpy()[:, :5] + [0.3, -0.4, 0.5, 0.6]
    return {**batch, "true_boxes": tf.constant(boxes * batch["box_mask"].numpy()[..., np.newaxis], tf.float32)}


def make_step(model):
    """One training step without the update. All anchors count: under XLA a sample of them is another sample."""
    losses = build.build_losses(tiny.config(rpn_samples=512), tiny.NUM_RELATIONS)

    def step(batch):
        with tf.GradientTape() as tape:
            outputs = model(batch, training=True)
            terms = losses(outputs, batch)
            total = losses.total(terms)
        gradients = tape.gradient(total, model.trainable_variables)
        return terms, [None if value is None else tf.convert_to_tensor(value) for value in gradients], outputs

    return step


@pytest.fixture(scope="module")
def compiled_step(network):
    return tf.function(make_step(network), autograph=False)


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


@pytest.mark.stack
@pytest.mark.parametrize("kind", ["dsg", "no_dsg", "no_dsg_br", "beyond_paper"])
def test_a_train_step_moves_every_part(kind, request):
    """Also the smallest check that training works at all: steps on one batch lower its loss."""
    model = request.getfixturevalue("network" if kind == "dsg" else f"{kind}_network")
    step = request.getfixturevalue("compiled_step") if kind == "dsg" else tf.function(make_step(model), autograph=False)
    batch, variables, start = matched_batch(model), model.trainable_variables, model.get_weights()
    terms, gradients, _ = step(batch)
    expected = {
        "dsg": tiny.TERMS,
        "no_dsg": tiny.TERMS[:3],
        "no_dsg_br": (*tiny.TERMS[:4], "edges"),
        "beyond_paper": (*tiny.TERMS, "edges"),
    }
    assert set(terms) == set(expected[kind])
    assert all(value > 0 and np.isfinite(value) for value in terms.values())
    # Nothing reads the coarsest levels of the backbone and of the FPN.
    detector_names = {v.name for part in (model.detector.backbone, model.detector.decoder) for v in part.variables}
    assert {v.name for v, gradient in zip(variables, gradients) if gradient is None} < detector_names
    used = [(v, gradient) for v, gradient in zip(variables, gradients) if gradient is not None]
    assert [v.name for v, gradient in used if not np.all(np.isfinite(gradient)) or not np.any(gradient)] == []
    optimizer = keras.optimizers.SGD(0.02, global_clipnorm=5.0)
    for _ in range(10):
        pairs = zip(step(batch)[1], variables)
        optimizer.apply_gradients([(gradient, v) for gradient, v in pairs if gradient is not None])
    assert sum(map(float, step(batch)[0].values())) < 0.9 * sum(map(float, terms.values()))
    model.set_weights(start)


def test_a_train_step_compiles_with_xla_and_gives_the_same_numbers(network, compiled_step):
    batch = matched_batch(network)
    terms, gradients, _ = compiled_step(batch)
    xla_terms, xla_gradients, _ = tf.function(make_step(network), autograph=False, jit_compile=True)(batch)
    for name, value in terms.items():
        assert float(xla_terms[name]) == pytest.approx(float(value), rel=1e-3), name
    for variable, gradient, compiled in zip(network.trainable_variables, gradients, xla_gradients):
        if gradient is not None:
            limit = 1e-3 * max(1.0, np.abs(gradient).max())
            np.testing.assert_allclose(compiled, gradient, atol=limit, err_msg=variable.name)


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


def test_a_pair_term_learns_and_sees_the_relation():
    model = make_network(pair_units=4)
    batch = matched_batch(model)
    terms, gradients, outputs = make_step(model)(batch)
    assert outputs["pairs"].shape == (2, CONFIG.num_boxes, CONFIG.num_boxes, 4) and np.isfinite(terms["rr"])
    parts = model.describe_pairs.trainable_variables + model.classifier.pair_term.trainable_variables
    by_name = {v.name: gradient for v, gradient in zip(model.trainable_variables, gradients)}
    assert len(parts) == 3 and all(np.any(by_name[v.name]) for v in parts)
    before = {v.name: v.numpy() for v in parts}
    for v in parts:
        v.assign(tf.zeros_like(v))
    neutral = model(batch, training=True)["role_logits"].numpy()
    for v in parts:
        v.assign(before[v.name])
    assert not np.allclose(neutral, outputs["role_logits"], atol=1e-4)


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


@pytest.mark.parametrize("name", ["no_dsg", "no_dsg_br"])
def test_no_dsg_has_neither_graph_nor_labels_and_refines_in_one_variant(name, request, tmp_path):
    model = request.getfixturevalue(f"{name}_network")
    parts = {"detector", "entity_features", "classifier"} | (
        {"refiner", "edge_refiner"} if name == "no_dsg_br" else set()
    )
    assert set(build.count_parameters(model)) == parts | {"total"}
    stored = tf.train.list_variables(tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint")))
    assert {name.split("/")[1] for name, _ in stored if name.startswith("model/")} == parts
    found = eagerly(model)(images())
    assert np.array_equal(found["boxes"], found["proposals"]) == (name == "no_dsg") and found["valid"].any()
    assert ("deltas" in found) == (name == "no_dsg_br")


def test_an_auxiliary_classifier_learns_from_what_enters_the_graph():
    """Its loss reaches its own weights and the features, not the graph; without its weight there is none."""
    model = make_network(loss_weights=("rr=1", "auxiliary_rr=0.5"), model="dsg_no_sgl")
    batch = matched_batch(model)
    losses = build.build_losses(tiny.config(loss_weights=("auxiliary_rr=0.5",)), tiny.NUM_RELATIONS)
    with tf.GradientTape() as tape:
        terms = losses(model(batch, training=True), batch)
        term = terms["auxiliary_rr"]
    assert float(term) > 0 and float(term) != pytest.approx(float(terms["rr"]), rel=1e-3)
    gradients = tape.gradient(term, model.trainable_variables)
    reached = {id(v) for v, gradient in zip(model.trainable_variables, gradients) if gradient is not None}
    for part, learns in (
        ("auxiliary_classifier", True),
        ("entity_features", True),
        ("graph", False),
        ("classifier", False),
    ):
        variables = getattr(model, part).trainable_variables
        assert variables and all((id(v) in reached) == learns for v in variables), part
    assert "auxiliary_classifier" not in build.count_parameters(tiny.model(tiny.config()))
    assert model.auxiliary_classifier.node.kernel.shape[0] == CONFIG.feature_size + 4


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


@pytest.mark.parametrize(
    "batch_norm, learns",
    [("frozen_all", ()), ("frozen", ("decoder", "rpn_head")), ("batch", ("backbone", "decoder", "rpn_head"))],
)
def test_frozen_norms_are_those_of_the_backbone_or_of_all_the_detector(batch_norm, learns):
    model, inputs = tiny.model(tiny.config(batch_norm=batch_norm)), images()
    parts = {name: getattr(model.detector, name) for name in ("backbone", "decoder", "rpn_head")}
    before = {name: [v.numpy() for v in part.non_trainable_variables] for name, part in parts.items()}
    model.detector(inputs["image"], inputs["image_size"], training=True)
    for name, part in parts.items():
        after = [v.numpy() for v in part.non_trainable_variables]
        assert after and any(not np.array_equal(a, b) for a, b in zip(before[name], after)) == (name in learns), name


def test_a_frozen_stem_keeps_the_first_convolution_and_block():
    free, frozen = (tiny.model(tiny.config(freeze_stem=freeze)).detector.backbone for freeze in (False, True))
    kept = len(free.trainable_variables) - len(frozen.trainable_variables)
    assert kept == len(keras.Model(free.inputs, free.output["2"]).trainable_variables) > 0
    shapes = [v.shape for v in frozen.trainable_variables]
    assert shapes and shapes == [v.shape for v in free.trainable_variables][kept:]


def test_parameters_are_counted_by_part(network):
    parts = build.count_parameters(network)
    assert parts["total"] == sum(int(tf.size(v)) for v in network.trainable_variables)
    assert parts["refiner"] == (CONFIG.node_units + 1) * 4
    assert parts["labeler"] == (CONFIG.node_units + 1) * (tiny.NUM_ENTITIES + tiny.NUM_RELATIONS)
    assert {"detector", "entity_features", "pair_features", "graph", "classifier"} < set(parts)


def test_mixed_precision_keeps_coordinates_and_logits_in_float32():
    try:
        model = make_network(precision="mixed_bfloat16")
        terms, gradients, outputs = tf.function(make_step(model), autograph=False)(matched_batch(model))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {name for name, value in outputs.items() if value.dtype != tf.float32} == {
        "nodes",
        "valid",
        "subject_mask",
        "object_mask",
    }
    assert outputs["nodes"].dtype == tf.bfloat16
    assert all(np.isfinite(value) and value > 0 for value in terms.values())
    assert all(np.all(np.isfinite(value)) for value in gradients if value is not None)


def test_anchors_by_hand():
    anchors = detector.make_anchors((64, 96), [3], (2.0, 4.0), (0.5, 1.0)).numpy().reshape([8, 12, 16])
    root = 2**0.5
    for row, column in [(0, 0), (7, 11), (3, 5)]:
        y, x = 8 * row + 4, 8 * column + 4  # Sides of 2 and of 4 strides; an aspect ratio is width / height.
        sides = [(16 * root, 16 / root), (16, 16), (32 * root, 32 / root), (32, 32)]
        expected = [[y - h / 2, x - w / 2, y + h / 2, x + w / 2] for h, w in sides]
        np.testing.assert_allclose(anchors[row, column].reshape([4, 4]), expected, atol=1e-4)


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"backbone_depth": "17"}, ["--backbone_depth=17", "--backbone=resnet", "18"]),
        ({"backbone": "dilated_resnet", "backbone_depth": "18", "backbone_width": 1.0}, ["--backbone_depth=18", "101"]),
        (
            {"backbone": "dilated_resnet", "backbone_depth": "50"},
            ["--backbone_width=0.25", "--backbone=dilated_resnet"],
        ),
        ({"backbone": "efficientnet", "backbone_depth": "lite1"}, ["--backbone_depth=lite1", "lite0"]),
        ({"decoder": "identity", "rpn_level": 6, "image_width": 128}, ["--rpn_level", "6", "2, 3, 4, 5"]),
    ],
)
def test_a_detector_that_model_garden_lacks_is_an_error_that_names_the_flags(changes, names):
    with pytest.raises(ValueError) as raised:
        build.build_detector(tiny.config(**changes))
    assert [name for name in names if name not in str(raised.value)] == []
