"""TWO STEP and the ablations of the DSG."""

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf import build
from dsg_tf.model.baselines import two_step

PERSON, HORSE, HAT = range(3)
RIDING, NEAR = range(2)


def graph(labels, edges, valid=None, certainty=8.0):
    """Logits of a hand-made graph: ``labels`` of its boxes, ``edges`` {(subject, relation, object): logit}."""
    count = len(labels)
    relations = np.full([1, count, count, 2], -9.0, np.float32)
    for (subject, relation, object_), logit in edges.items():
        relations[0, subject, object_, relation] = logit
    return {
        "entity_logits": tf.constant(certainty * np.eye(3, dtype=np.float32)[labels][np.newaxis]),
        "relation_logits": tf.constant(relations),
        "valid": tf.constant([valid or [True] * count]),
    }


def match(encoded, *queries, exclusive_relations=False):
    found = two_step.GraphMatcher(exclusive_relations=exclusive_relations)(encoded, tf.constant([queries], tf.int32))
    return [
        [np.flatnonzero(found[f"{role}_mask"][0, k]).tolist() for role in ("subject", "object")]
        for k in range(len(queries))
    ], found


def test_all_boxes_of_present_triplets_answer():
    encoded = graph(
        [PERSON, HORSE, PERSON, HORSE, HAT], {(0, RIDING, 1): 3, (2, RIDING, 3): 1, (2, NEAR, 1): 2, (4, RIDING, 1): 5}
    )
    answers, _ = match(encoded, (PERSON, RIDING, HORSE), (PERSON, NEAR, HORSE), (HAT, RIDING, HORSE))
    assert answers == [[[0, 2], [1, 3]], [[2], [1]], [[4], [1]]]


def test_a_box_can_be_subject_and_object():
    answers, _ = match(graph([PERSON, PERSON, HAT], {(0, NEAR, 1): 2, (1, NEAR, 0): 2}), (PERSON, NEAR, PERSON))
    assert answers == [[[0, 1], [0, 1]]]


def test_without_the_triplet_the_most_probable_pair_answers():
    encoded = graph([PERSON, HORSE, HORSE], {(0, RIDING, 1): -2.0, (0, RIDING, 2): -1.0})
    answers, found = match(encoded, (PERSON, RIDING, HORSE))
    assert answers == [[[0], [2]]]
    certain = np.exp(8) / (np.exp(8) + 2)
    expected = certain**2 / (1 + np.exp(1))
    assert found["subject_scores"][0, 0].numpy()[0] == pytest.approx(expected, rel=1e-4)
    assert found["object_scores"][0, 0].numpy()[2] == pytest.approx(expected, rel=1e-4)
    assert found["answer_probability"].numpy().tolist() == [[pytest.approx(expected, rel=1e-4)]]


def test_the_product_decides_not_one_factor():
    """An unsure label with a sure relation loses to two sure labels with a fair relation."""
    encoded = graph([PERSON, HORSE, HAT], {(0, RIDING, 1): -0.5, (0, RIDING, 2): 6.0})
    assert match(encoded, (PERSON, RIDING, HORSE))[0] == [[[0], [1]]]


def test_a_box_is_never_paired_with_itself_nor_with_padding():
    encoded = graph(
        [PERSON, PERSON, PERSON], {(0, NEAR, 0): 9, (0, NEAR, 1): 9, (1, NEAR, 2): -1}, valid=[True, False, True]
    )
    answers, _ = match(encoded, (PERSON, NEAR, PERSON))
    assert answers in ([[[0], [2]]], [[[2], [0]]])
    alone, _ = match(graph([PERSON], {}), (PERSON, NEAR, PERSON))
    assert alone == [[[], []]]
    assert match(graph([PERSON], {}), (PERSON, NEAR, PERSON))[1]["answer_probability"].numpy().tolist() == [[0.0]]


def test_of_exclusive_relations_the_most_probable_one_stands_in_the_graph():
    """Below one half each or above, and whatever the logits' level is."""
    encoded = graph([PERSON, HORSE, HORSE], {(0, RIDING, 1): 2.0, (0, NEAR, 1): 1.0, (0, NEAR, 2): -1.0})
    answers, found = match(encoded, (PERSON, RIDING, HORSE), (PERSON, NEAR, HORSE), exclusive_relations=True)
    assert answers == [[[0], [1]], [[0], [2]]]
    sure = np.exp(8) / (np.exp(8) + 2)
    assert found["object_scores"][0, 0].numpy()[1] == pytest.approx(sure**2 / (1 + np.exp(-1)), rel=1e-4)
    both, _ = match(encoded, (PERSON, RIDING, HORSE), (PERSON, NEAR, HORSE))
    assert both == [[[0], [1]], [[0], [1]]]


ABLATIONS = {
    "dsg_no_sgl": ({"labeler"}, ("rpn_score", "rpn_box", "rr", "refine")),
    "dsg_no_br": (set(), ("rpn_score", "rpn_box", "rr", "refine", "entity", "relation")),
    "two_step": ({"classifier"}, ("rpn_score", "rpn_box", "refine", "entity", "relation")),
}


@pytest.fixture(scope="module")
def whole():
    return build.count_parameters(tiny.model(tiny.config()))


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_is_the_dsg_with_one_part_less(name, whole):
    missing, terms = ABLATIONS[name]
    settings = tiny.config(model=name)
    model, batch = tiny.model(settings), tiny.batch(settings, 2)
    parts = build.count_parameters(model)
    assert set(whole) - set(parts) == missing
    assert set(parts) <= set(whole)
    if name == "dsg_no_br":
        assert parts["refiner"] == (settings.feature_size + 1) * 4 != whole["refiner"]
    losses = build.build_losses(settings, tiny.NUM_RELATIONS)
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(batch, training=True)
        found = losses(outputs, batch)
        refine = found["refine"]
    assert tuple(found) == terms and all(np.isfinite(value) for value in found.values())
    for role in ("subject", "object"):
        assert outputs[f"{role}_mask"].shape == (2, settings.max_queries, settings.num_boxes)
        assert np.all(outputs[f"{role}_mask"].numpy().any(axis=-1))
    # The refiner starts at zero: move it, or nothing behind it has a gradient.
    reached = [g is not None for g in tape.gradient(refine, model.graph.trainable_variables)]
    assert any(reached) == (name != "dsg_no_br")
