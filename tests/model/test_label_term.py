"""Classes of a query by the label head's logits of them, and what a detector knows of them."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf.keras import keras
from dsg_tf.model import heads
from dsg_tf.model.known_classes import KnownClasses

ENTITIES, RELATIONS, HIDDEN, NODE_SIZE = 5, 3, 8, 6
QUERIES = np.array([[[0, 2, 4], [4, 0, 4], [1, 1, 0]], [[3, 2, 1], [0, 0, 0], [2, 1, 3]]], np.int32)


@pytest.fixture(scope="module")
def layer():
    keras.utils.set_random_seed(0)
    made = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN, gated=True, label_term=True)
    made(encoded(), QUERIES)
    for variable in made.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    return made


def encoded():
    rng = np.random.default_rng(0)
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return {"nodes": normal(2, 4, NODE_SIZE), "valid": np.ones([2, 4], bool), "entity_logits": normal(2, 4, ENTITIES)}


def test_the_term_is_the_logit_of_the_class_times_the_weight_of_the_role(layer):
    inputs = encoded()
    without = layer({**inputs, "entity_logits": 0 * inputs["entity_logits"]}, QUERIES)["role_logits"].numpy()
    found = layer(inputs, QUERIES)["role_logits"].numpy()
    weights = layer.label_term.weight.numpy()
    for image, query, box in np.ndindex(2, 3, 4):
        of_class = inputs["entity_logits"][image, box]
        subject, _, object_ = QUERIES[image, query]
        expected = [0, weights[0] * of_class[subject], weights[1] * of_class[object_], 0]
        np.testing.assert_allclose(found[image, query, box] - without[image, query, box], expected, atol=1e-5)


def test_the_numbers_of_the_classes_do_not_matter(layer):
    """No class has a weight of its own: what is learned of one holds for all."""
    order = np.array([3, 0, 4, 1, 2])
    inputs, queries = encoded(), QUERIES.copy()
    queries[..., [0, 2]] = np.argsort(order)[queries[..., [0, 2]]]
    renamed = {**inputs, "entity_logits": inputs["entity_logits"][..., order]}
    found, expected = (layer(*arguments)["role_logits"] for arguments in ((renamed, queries), (inputs, QUERIES)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert sum(variable.shape[0] == ENTITIES for variable in layer.trainable_variables) == 0


def test_leaving_out_boxes_that_are_not_valid_changes_no_answer(layer):
    inputs = {**encoded(), "valid": np.array([[True, False, True, False], [False, True, True, True]])}
    found, expected = (layer(inputs, QUERIES, skip_invalid=skip) for skip in (True, False))
    np.testing.assert_allclose(found["subject_scores"], expected["subject_scores"], atol=1e-6)


def test_classes_of_the_same_name_start_as_the_detector_s_logits():
    layer = KnownClasses(["person", "dog", "tv"], 4)
    logits = np.random.default_rng(0).normal(size=[2, 5, 3]).astype(np.float32)
    assert not layer(logits).numpy().any()
    layer.match(["Dog", "sky", "person", "dogs"])
    expected = np.stack([logits[..., 1], 0 * logits[..., 0], logits[..., 0], 0 * logits[..., 0]], axis=-1)
    np.testing.assert_array_equal(layer(logits), expected)


def test_classes_of_another_name_for_the_same_start_as_its_logits():
    layer = KnownClasses(["person", "couch", "tv"], 4)
    logits = np.random.default_rng(0).normal(size=[2, 5, 3]).astype(np.float32)
    layer(logits)
    groups = [["sofa", "settee"], ["couch", "sofa", "settee"], ["person", "tv"]]
    layer.match(["sofa", "Settee", "tv", "sky"], groups)
    expected = np.stack([logits[..., 1], logits[..., 1], logits[..., 2], 0 * logits[..., 0]], axis=-1)
    np.testing.assert_array_equal(layer(logits), expected)


def test_dropout_is_a_function_of_the_seed_and_only_in_training():
    config = tiny.config(dropout=0.5, label_term=True)
    model, batch = tiny.model(config), tiny.batch(config, 2)
    first, again = (model(batch, training=True)["nodes"].numpy() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    share = (first == 0).mean()
    assert 0.3 < share < 0.7
    other = model({**batch, "seed": tf.constant(batch["seed"]) + 1}, training=True)["nodes"].numpy()
    assert ((other == 0) != (first == 0)).mean() > 0.3
    assert (model(batch, training=False)["nodes"].numpy() == 0).mean() < 0.01
