"""What stands around a box, in classes that all queries share."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf.keras import keras
from dsg_tf.model import relative_geometry
from dsg_tf.model.neighbor_term import NeighborTerm

CLASSES, RELATIONS, UNITS = 5, 3, 2
QUERIES = np.array([[[0, 2, 4], [4, 0, 4], [1, 1, 0]], [[3, 2, 1], [0, 0, 0], [2, 1, 3]]], np.int32)


@pytest.fixture(scope="module")
def layer():
    keras.utils.set_random_seed(0)
    made = NeighborTerm(RELATIONS, UNITS)
    made(**inputs())
    for variable in made.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return made


def inputs():
    rng = np.random.default_rng(0)
    start = rng.uniform(0, 100, [2, 4, 2])
    return {
        "role_logits": tf.constant(rng.normal(size=[2, 3, 4, 4]), tf.float32),
        "boxes": tf.constant(np.concatenate([start, start + rng.uniform(5, 40, [2, 4, 2])], -1), tf.float32),
        "valid": tf.constant([[True, True, True, False], [True, True, True, True]]),
        "entity_logits": tf.constant(2 * rng.normal(size=[2, 4, CLASSES]), tf.float32),
        "queries": tf.constant(QUERIES),
    }


def test_the_term_is_the_formula(layer):
    given = inputs()
    found = (layer(**given) - given["role_logits"]).numpy()
    labels = tf.nn.softmax(given["entity_logits"]).numpy()
    geometry = relative_geometry.of_pairs(given["boxes"]).numpy()
    for image, query, box in np.ndindex(2, 3, 4):
        subject, relation, object_ = QUERIES[image, query]
        expected = np.zeros(4)
        for role, partner in (("subject", object_), ("object", subject)):
            hidden, gates = layer.gates[role]
            kernel = layer.kernels[role].embeddings.numpy()[relation].reshape(UNITS, 4)
            amounts = np.zeros(UNITS)
            for other in np.flatnonzero(given["valid"][image]):
                if other != box:
                    gate = gates(hidden(geometry[image, box, other][np.newaxis]))[0].numpy()
                    amounts += gate * labels[image, other, partner]
            expected += (1 - np.exp(-amounts)) @ kernel
        np.testing.assert_allclose(found[image, query, box], expected, atol=1e-5)


def test_the_numbers_of_the_classes_do_not_matter(layer):
    order = np.array([3, 0, 4, 1, 2])
    given, queries = inputs(), QUERIES.copy()
    queries[..., [0, 2]] = np.argsort(order)[queries[..., [0, 2]]]
    renamed = {**given, "entity_logits": tf.gather(given["entity_logits"], order, axis=2), "queries": queries}
    np.testing.assert_allclose(layer(**renamed), layer(**given), atol=1e-6)
    assert not any(CLASSES in variable.shape for variable in layer.trainable_variables)


def test_boxes_in_another_order_and_more_padding_change_nothing(layer):
    given, order = inputs(), np.array([2, 0, 3, 1])
    moved = {name: tf.gather(given[name], order, axis=1) for name in ("boxes", "valid", "entity_logits")}
    moved["role_logits"] = tf.gather(given["role_logits"], order, axis=2)
    expected = tf.gather(layer(**given), order, axis=2)
    np.testing.assert_allclose(layer(**{**given, **moved}), expected, atol=1e-5)
    padded = {name: tf.pad(given[name], [[0, 0], [0, 2], *[[0, 0]] * (len(given[name].shape) - 2)]) for name in moved}
    padded["role_logits"] = tf.pad(given["role_logits"], [[0, 0], [0, 0], [0, 2], [0, 0]])
    np.testing.assert_allclose(layer(**{**given, **padded})[:, :, :4], layer(**given), atol=1e-5)


def test_the_loss_of_the_answers_teaches_gates_kernels_and_labels_but_no_boxes(layer):
    given = inputs()
    with tf.GradientTape() as tape:
        tape.watch([given["boxes"], given["entity_logits"]])
        loss = tf.reduce_sum(layer(**given) ** 2)
    of_boxes, of_labels, *of_variables = tape.gradient(
        loss, [given["boxes"], given["entity_logits"], *layer.trainable_variables]
    )
    assert of_boxes is None
    assert np.any(of_labels) and all(np.any(tf.convert_to_tensor(gradient)) for gradient in of_variables)


def test_the_whole_network_has_it_where_it_has_labels():
    batch = tiny.batch(tiny.config(), 2)
    for system, has in (("dsg", True), ("dsg_no_sgl", False), ("no_dsg", False), ("two_step", False)):
        model = tiny.model(tiny.config(model=system, neighbor_units=3))
        assert np.isfinite(model(batch)["subject_scores"]).all()
        assert (getattr(model.classifier, "neighbor_term", None) is not None) == has
