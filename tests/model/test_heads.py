"""The three heads."""

import numpy as np
import pytest
import tensorflow as tf

from dsg_tf.data import roles
from dsg_tf.keras import keras
from dsg_tf.model import heads, logit_terms

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


@pytest.mark.parametrize("pair_units", [0, 5])
@pytest.mark.parametrize("counts", [(0, 0), (1, 4), (3, 2), (4, 4)])
def test_leaving_out_boxes_that_are_not_valid_changes_no_answer(pair_units, counts):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    layer = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN, pair_units)
    valid = np.stack([rng.permutation(np.arange(4) < count) for count in counts])
    encoded = {"nodes": NODES, "valid": valid, "pairs": rng.normal(size=[2, 4, 4, 5]).astype(np.float32)}
    layer(encoded, QUERIES)
    for variable in layer.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    all_boxes, found = (layer(encoded, QUERIES, skip_invalid=skip) for skip in (False, True))
    assert found["role_logits"].shape == (2, 3, 4, roles.NUM_LABELS)
    for name, value in all_boxes.items():
        if name != "role_logits":
            np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=name)
    by_box = [np.moveaxis(outputs["role_logits"].numpy(), 2, 1)[valid] for outputs in (found, all_boxes)]
    np.testing.assert_allclose(*by_box, rtol=1e-5, atol=1e-5)


def test_the_probabilities_are_the_softmax_where_a_box_is_valid_and_zero_elsewhere():
    logits, valid = RNG.normal(size=[2, 3, 4, roles.NUM_LABELS]).astype(np.float32), np.arange(8).reshape(2, 4) % 3 > 0
    found = heads.answers(tf.constant(logits), tf.constant(valid))
    expected = tf.nn.softmax(logits).numpy() * valid[:, np.newaxis, :, np.newaxis]
    np.testing.assert_allclose(found["role_probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(found["subject_scores"], found["role_probabilities"][..., roles.SUBJECT])


def test_the_odds_of_an_answer_are_those_of_its_best_subject_times_those_of_its_best_object():
    subjects, objects = np.array([[0.1, 0.8], [0.5, 0.2]], np.float32), np.array([[0.6, 0.3], [0.5, 0.4]], np.float32)
    found = heads.answer_probability(subjects, objects).numpy()
    odds = np.array([0.8 / 0.2 * 0.6 / 0.4, 0.5 / 0.5 * 0.5 / 0.5])
    np.testing.assert_allclose(found, odds / (1 + odds), rtol=1e-5)


@pytest.mark.parametrize("subject, object_, expected", [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 1), (1 + 1e-6, 0.3, 1)])
def test_the_probability_of_an_answer_is_finite_at_its_ends(subject, object_, expected):
    found = heads.answer_probability(*(tf.constant([[value]], tf.float32) for value in (subject, object_)))
    assert found.numpy().tolist() == [expected]


def test_the_probability_of_an_answer_is_of_valid_boxes_and_of_its_own_query_alone():
    rng = np.random.default_rng(0)
    logits, valid = rng.normal(size=[1, 2, 3, roles.NUM_LABELS]).astype(np.float32), np.ones([1, 3], bool)
    expected = heads.answers(logits, valid)["answer_probability"].numpy()
    assert expected.shape == (1, 2) and ((expected > 0) & (expected < 1)).all()
    padded = np.pad(logits, [[0, 0], [0, 1], [0, 2], [0, 0]], constant_values=9.0)
    padded[:, :, 3:, roles.SUBJECT] = 30.0
    found = heads.answers(padded, np.pad(valid, [[0, 0], [0, 2]]))["answer_probability"].numpy()
    np.testing.assert_allclose(found[:, :2], expected, rtol=1e-6)
    assert not heads.answers(logits, ~valid)["answer_probability"].numpy().any()


def test_of_equal_logits_the_first_role_is_the_box_s():
    """As of `argmax`: all 256 patterns of four logits out of four values."""
    logits = np.stack(np.meshgrid(*[np.arange(4.0)] * 4), axis=-1).reshape(1, 256, 1, 4).astype(np.float32)
    found = heads.answers(tf.constant(np.repeat(logits, 2, axis=2)), tf.ones([1, 2], tf.bool))
    for role, label in roles.LABEL_OF.items():
        is_role = logits.argmax(-1)[0, :, 0] == label
        np.testing.assert_array_equal(found[f"{role}_mask"].numpy()[0].all(-1), is_role)


def test_partner_keys_are_products_of_nodes_relations_and_partners():
    keras.utils.set_random_seed(0)
    layer = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN, gated=True)
    logits = layer(ENCODED, QUERIES)["role_logits"].numpy()
    found = layer.partner_keys(NODES, QUERIES).numpy()
    assert found.shape == (2, 3, 4, roles.NUM_LABELS)
    for image, query in np.ndindex(2, 3):
        subject, relation, object_ = QUERIES[image, query]
        expected = 0.0
        for role, partner in (("subject", object_), ("object", subject)):
            node, of_relation, of_partner = layer.partner_keys.keys[role]
            key = of_relation.embeddings.numpy()[relation] * of_partner.embeddings.numpy()[partner]
            products = NODES[image] @ node.kernel.numpy() * key
            expected = expected + products @ layer.partner_keys.kernels[role].numpy().T
        np.testing.assert_allclose(found[image, query], expected, atol=1e-5)
    for kernel in layer.partner_keys.kernels.values():
        kernel.assign(0.0 * kernel)
    np.testing.assert_allclose(layer(ENCODED, QUERIES)["role_logits"], logits - found, atol=1e-5)


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
    layer = heads.LabelHeads(ENTITIES, RELATIONS, exclusive_relations=False)
    edges = RNG.normal(size=[2, 4, 4, 7]).astype(np.float32)
    entity, relation = layer(NODES, edges)
    assert entity.shape == (2, 4, ENTITIES) and relation.shape == (2, 4, 4, RELATIONS)
    np.testing.assert_allclose(entity, NODES @ layer.entity.kernel.numpy(), atol=1e-5)
    np.testing.assert_allclose(relation, edges @ layer.relation.kernel.numpy(), atol=1e-5)


def test_results_are_float32_under_mixed_precision():
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    classifier = heads.ReferringClassifier(ENTITIES, RELATIONS, HIDDEN, dtype=policy)
    refiner, labeler = (
        heads.BoxRefiner(dtype=policy),
        heads.LabelHeads(ENTITIES, RELATIONS, exclusive_relations=False, dtype=policy),
    )
    results = [classifier(ENCODED, QUERIES)["role_logits"], *refiner(NODES, PROPOSALS), *labeler(NODES, NODES[:, None])]
    assert [value.dtype for value in results] == [tf.float32] * 5
    np.testing.assert_allclose(results[2], PROPOSALS, atol=1e-5)  # Coordinates must not be rounded to 8 bits.


def literal_pair_term(role_logits, pairs, table, relations, valid):
    """The exchange as it is written: a score for each query and pair, a sum of exponentials with its floor."""
    scores = tf.einsum("bijd,bqd->bqij", pairs, tf.gather(table, relations))
    others = (valid[:, :, np.newaxis] & valid[:, np.newaxis] & ~np.eye(valid.shape[1], dtype=bool))[:, np.newaxis]
    log_p = tf.nn.log_softmax(role_logits)

    def log_evidence(logs, axis):
        known = tf.reduce_logsumexp(tf.where(others, logs, -np.inf), axis)
        return tf.reduce_logsumexp(tf.stack([known, tf.fill(known.shape, logit_terms.NO_PARTNER)]), axis=0)

    for_subject = log_evidence(scores + log_p[..., roles.OBJECT][:, :, tf.newaxis], 3)
    for_object = log_evidence(scores + log_p[..., roles.SUBJECT][..., tf.newaxis], 2)
    zeros = tf.zeros_like(for_subject)
    return role_logits + tf.stack([zeros, for_subject, for_object, zeros], axis=-1)


@pytest.mark.parametrize("scale", [0.3, 3.0, 15.0], ids=lambda scale: f"scores of {scale}")
def test_the_pair_term_is_the_literal_exchange_and_so_is_its_gradient(scale):
    rng = np.random.default_rng(1)
    layer = logit_terms.PairTerm(RELATIONS, 5)
    logits = tf.constant(rng.normal(scale=4, size=[2, 6, 4, roles.NUM_LABELS]), tf.float32)
    pairs = tf.constant(rng.normal(size=[2, 4, 4, 5]), tf.float32)
    relations, valid = rng.integers(0, RELATIONS, [2, 6]).astype(np.int32), np.array([[1, 1, 0, 1], [0, 0, 1, 1]], bool)
    layer(logits, pairs, relations, valid)
    table = layer.relation.embeddings
    table.assign(scale * rng.normal(size=table.shape))
    weights = rng.normal(size=logits.shape).astype(np.float32)
    results = []
    for call in (layer, lambda *inputs: literal_pair_term(inputs[0], inputs[1], table, *inputs[2:])):
        with tf.GradientTape() as tape:
            tape.watch([logits, pairs])
            found = call(logits, pairs, relations, valid)
            total = tf.reduce_sum(weights * found)
        gradients = tape.gradient(total, [logits, pairs, table])
        results.append([found, *map(tf.convert_to_tensor, gradients)])
    for fast, literal in zip(*results):
        np.testing.assert_allclose(fast, literal, rtol=1e-4, atol=1e-4)


def test_boxes_of_padding_change_no_logit_of_the_pair_term():
    """Four boxes alone and before thirty of padding, with partners as improbable as the floor and more."""
    rng = np.random.default_rng(2)
    layer = logit_terms.PairTerm(RELATIONS, 5)
    logits = rng.normal(scale=3, size=[2, 6, 34, roles.NUM_LABELS]).astype(np.float32)
    pairs = rng.normal(size=[2, 34, 34, 5]).astype(np.float32)
    relations, valid = rng.integers(0, RELATIONS, [2, 6]).astype(np.int32), np.tile(np.arange(34) < 4, [2, 1])
    layer(logits, pairs, relations, valid)
    layer.relation.embeddings.assign(4 * rng.normal(size=layer.relation.embeddings.shape))
    padded = layer(logits, pairs, relations, valid)[:, :, :4]
    alone = layer(logits[:, :, :4], pairs[:, :4, :4], relations, valid[:, :4])
    added = (alone - logits[:, :, :4]).numpy()
    assert added.min() < -9 and added.max() > 5
    np.testing.assert_allclose(padded, alone, rtol=0, atol=1e-5)


def test_the_pair_term_is_finite_whatever_the_scores():
    layer = logit_terms.PairTerm(1, 1)
    pairs = tf.constant([[[[0.0], [300.0]], [[-300.0], [0.0]]]])
    arguments = (np.zeros([1, 1], np.int32), np.ones([1, 2], bool))
    layer(tf.zeros([1, 1, 2, roles.NUM_LABELS]), pairs, *arguments)
    layer.relation.set_weights([np.ones([1, 1])])
    logits = tf.constant([[[[0.0, 90.0, -90.0, 0.0], [0.0, -90.0, 90.0, 0.0]]]])
    with tf.GradientTape() as tape:
        tape.watch([logits, pairs])
        found = layer(logits, pairs, *arguments)
    assert all(np.isfinite(value).all() for value in (found, *tape.gradient(found, [logits, pairs])))


def test_the_pair_term_keeps_logits_in_float32():
    layer = logit_terms.PairTerm(RELATIONS, 5, dtype=keras.mixed_precision.Policy("mixed_bfloat16"))
    logits = np.full([1, 1, 2, roles.NUM_LABELS], 1.001, np.float32)  # Not a number of 8 bits.
    found = layer(logits, np.zeros([1, 2, 2, 5], np.float32), np.zeros([1, 1], np.int32), np.ones([1, 2], bool))
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found[..., roles.BACKGROUND], logits[..., roles.BACKGROUND])


def test_a_box_without_partners_keeps_a_finite_logit():
    layer = logit_terms.PairTerm(RELATIONS, 5)
    found = layer(
        np.zeros([1, 2, 3, roles.NUM_LABELS], np.float32),
        np.ones([1, 3, 3, 5], np.float32),
        np.zeros([1, 2], np.int32),
        np.array([[True, False, False]]),
    ).numpy()
    assert np.isfinite(found).all() and np.abs(found).max() < 12


def test_the_pair_term_tells_which_of_two_equal_boxes_stands_in_the_relation():
    """Boxes 0 and 1 look like the subject, box 2 like the object; only 1 stands in the relation to it."""
    layer = logit_terms.PairTerm(1, 1)
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
