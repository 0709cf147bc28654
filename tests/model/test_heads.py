"""The three heads."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.data import roles
from dsg_tf.keras import keras
from dsg_tf.model import heads

ENTITIES, RELATIONS, HIDDEN, NODE_SIZE = 5, 3, 8, 6
RNG = np.random.default_rng(0)
NODES = RNG.normal(size=[2, 4, NODE_SIZE]).astype(np.float32)
QUERIES = np.array([[[0, 2, 4], [4, 0, 4], [1, 1, 0]], [[3, 2, 1], [0, 0, 0], [2, 1, 3]]], np.int32)
ENCODED = {"nodes": NODES, "valid": np.ones([2, 4], bool)}
PROPOSALS = np.array([[[0, 0, 10, 20], [5, 5, 9, 9], [3, 1, 40, 2], [0, 0, 0, 0]]] * 2, np.float32)


def test_the_classifier_is_the_textbook_network_on_one_hot_vectors():
    keras.utils.set_random_seed(0)
    layer = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN)
    layer(ENCODED, QUERIES)
    for variable in layer.trainable_variables:
        variable.assign(RNG.normal(size=variable.shape))
    parts = (layer.node.kernel, layer.subject.embeddings, layer.relation.embeddings, layer.object.embeddings)
    kernel, bias = np.concatenate([part.numpy() for part in parts]), layer.node.bias.numpy()
    assert kernel.shape == (NODE_SIZE + 2 * ENTITIES + RELATIONS, HIDDEN)
    logits = layer(ENCODED, QUERIES)["role_logits"].numpy()
    assert logits.shape == (2, 3, 4, roles.NUM_LABELS)
    for image, query, node in np.ndindex(2, 3, 4):
        subject, relation, object_ = QUERIES[image, query]
        one_hot = (np.eye(ENTITIES)[subject], np.eye(RELATIONS)[relation], np.eye(ENTITIES)[object_])
        value = np.maximum(np.concatenate([NODES[image, node], *one_hot]) @ kernel + bias, 0)
        value = np.maximum(value @ layer.hidden.kernel.numpy() + layer.hidden.bias.numpy(), 0)
        expected = value @ layer.logits.kernel.numpy() + layer.logits.bias.numpy()
        np.testing.assert_allclose(logits[image, query, node], expected, rtol=1e-4, atol=1e-4)


def test_the_refiner_starts_as_the_identity():
    deltas, boxes = heads.BoxRefiner()(NODES, PROPOSALS)
    assert deltas.shape == boxes.shape == (2, 4, 4)
    assert not deltas.numpy().any()
    np.testing.assert_allclose(boxes, PROPOSALS, atol=1e-5)


def test_the_refiner_is_linear_and_decodes_with_the_weights_of_faster_rcnn():
    layer = heads.BoxRefiner()
    layer(NODES, PROPOSALS)
    kernel, bias = RNG.normal(size=[NODE_SIZE, 4]), np.array([1, -2, 0.5, 0.25])
    layer.deltas.set_weights([kernel, bias])
    np.testing.assert_allclose(layer(NODES, PROPOSALS)[0], NODES @ kernel + bias, atol=1e-5)
    layer.deltas.set_weights([np.zeros_like(kernel), np.array([1, -2, 5 * np.log(2), 0])])
    refined = layer(NODES, PROPOSALS)[1].numpy()[0, 0]
    # The box 0, 0, 10, 20: its centre moves by 10 * 1/10 and 20 * -2/10, its height doubles.
    assert refined.tolist() == pytest.approx([5 + 1 - 10, 10 - 4 - 10, 5 + 1 + 10, 10 - 4 + 10], abs=1e-4)


def test_the_label_heads_are_linear():
    layer = heads.LabelHeads(ENTITIES, RELATIONS)
    edges = RNG.normal(size=[2, 4, 4, 7]).astype(np.float32)
    entity, relation = layer(NODES, edges)
    assert entity.shape == (2, 4, ENTITIES) and relation.shape == (2, 4, 4, RELATIONS)
    np.testing.assert_allclose(entity, NODES @ layer.entity.kernel.numpy(), atol=1e-5)
    np.testing.assert_allclose(relation, edges @ layer.relation.kernel.numpy(), atol=1e-5)


def test_results_are_float32_under_mixed_precision():
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    classifier = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN, dtype=policy)
    refiner, labeler = heads.BoxRefiner(dtype=policy), heads.LabelHeads(ENTITIES, RELATIONS, dtype=policy)
    results = [classifier(ENCODED, QUERIES)["role_logits"], *refiner(NODES, PROPOSALS), *labeler(NODES, NODES[:, None])]
    assert [value.dtype for value in results] == [tf.float32] * 5
    np.testing.assert_allclose(results[2], PROPOSALS, atol=1e-5)  # Coordinates must not be rounded to 8 bits.


def test_the_pair_term_is_the_literal_exchange():
    rng = np.random.default_rng(1)
    layer = heads.PairTerm(RELATIONS, 5)
    logits = rng.normal(size=[1, 2, 4, roles.NUM_LABELS]).astype(np.float32)
    pairs = rng.normal(size=[1, 4, 4, 5]).astype(np.float32)
    relations, valid = np.array([[2, 0]], np.int32), np.array([[True, True, False, True]])
    layer(logits, pairs, relations, valid)
    layer.relation.set_weights([rng.normal(size=[RELATIONS, 5])])
    found = layer(logits, pairs, relations, valid).numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    for query in range(2):
        score = np.exp(pairs[0] @ layer.relation.embeddings.numpy()[relations[0, query]])
        for i in np.flatnonzero(valid[0]):
            partners = [j for j in np.flatnonzero(valid[0]) if j != i]
            as_subject = sum(score[i, j] * probabilities[0, query, j, roles.OBJECT] for j in partners)
            as_object = sum(score[j, i] * probabilities[0, query, j, roles.SUBJECT] for j in partners)
            expected = logits[0, query, i] + [0, np.log(as_subject), np.log(as_object), 0]
            np.testing.assert_allclose(found[0, query, i], expected, atol=2e-3)  # Of the floor for partners.


def test_the_pair_term_keeps_logits_in_float32():
    layer = heads.PairTerm(RELATIONS, 5, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    logits = np.full([1, 1, 2, roles.NUM_LABELS], 1.001, np.float32)  # Not a number of 8 bits.
    found = layer(logits, np.zeros([1, 2, 2, 5], np.float32), np.zeros([1, 1], np.int32), np.ones([1, 2], bool))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found[..., roles.BACKGROUND], logits[..., roles.BACKGROUND])


def test_a_box_without_partners_keeps_a_finite_logit():
    layer = heads.PairTerm(RELATIONS, 5)
    found = layer(
        np.zeros([1, 2, 3, roles.NUM_LABELS], np.float32),
        np.ones([1, 3, 3, 5], np.float32),
        np.zeros([1, 2], np.int32),
        np.array([[True, False, False]]),
    ).numpy()
    assert np.isfinite(found).all() and np.abs(found).max() < 12


def test_the_pair_term_tells_which_of_two_equal_boxes_stands_in_the_relation():
    """Boxes 0 and 1 look like the subject, box 2 like the object; only 1 stands in the relation to it."""
    layer = heads.PairTerm(1, 1)
    logits = np.zeros([1, 1, 3, roles.NUM_LABELS], np.float32)
    logits[0, 0, :2, roles.SUBJECT] = logits[0, 0, 2, roles.OBJECT] = 4.0
    pairs = np.full([1, 3, 3, 1], -6.0, np.float32)
    pairs[0, 1, 2] = 6.0
    layer(logits, pairs, np.zeros([1, 1], np.int32), np.ones([1, 3], bool))
    layer.relation.set_weights([np.ones([1, 1])])
    found = heads.answers(
        layer(logits, pairs, np.zeros([1, 1], np.int32), np.ones([1, 3], bool)), tf.ones([1, 3], tf.bool)
    )
    assert found["subject_mask"].numpy()[0, 0].tolist() == [False, True, False]
    assert found["object_mask"].numpy()[0, 0].tolist() == [False, False, True]
