"""A training step of the whole network and of its variants: what learns, and in which numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from networks import CONFIG, eagerly, images, make_network, make_step, matched_batch

from dsg_tf import build
from dsg_tf.keras import keras


@pytest.fixture(scope="module")
def network():
    return make_network()


@pytest.fixture(scope="module")
def no_dsg_network():
    return make_network(model="no_dsg")


@pytest.fixture(scope="module")
def no_dsg_br_network():
    return make_network(model="no_dsg_br", edge_pixels=3)


@pytest.fixture(scope="module")
def beyond_paper_network():
    return make_network(gated_relations=True, edge_pixels=3)


@pytest.fixture(scope="module")
def compiled_step(network):
    return tf.function(make_step(network), autograph=False)


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
