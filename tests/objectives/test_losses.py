"""The loss terms: values by hand, empty images, padding and batching."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf
import tiny
from loss_cases import ANCHORS, CONFIG, R, make_losses, make_outputs

from dsg_tf import boxes as box_lib
from dsg_tf.objectives import targets

HAS_ADDONS = importlib.util.find_spec("tensorflow_addons") is not None
LEARNED = ("rpn_scores", "rpn_boxes", "role_logits", "deltas", "entity_logits", "relation_logits")


def compute(losses_, outputs, batch):
    """Terms, and the gradient of each with respect to each learned output."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([outputs[name] for name in LEARNED])
        terms = losses_(outputs, batch)
    gradients = {
        (term, name): tape.gradient(value, outputs[name], unconnected_gradients="zero").numpy()
        for term, value in terms.items()
        for name in LEARNED
    }
    return {name: float(value) for name, value in terms.items()}, gradients


def test_a_full_batch_has_all_terms_and_each_reaches_its_output():
    batch = tiny.batch(CONFIG, 2)
    terms, gradients = compute(make_losses(), make_outputs(batch), batch)
    assert tuple(terms) == tiny.TERMS and all(np.isfinite(value) and value > 0 for value in terms.values())
    reached = {pair for pair, gradient in gradients.items() if np.any(gradient)}
    assert reached == set(
        zip(tiny.TERMS, ("rpn_scores", "rpn_boxes", "role_logits", "deltas", "entity_logits", "relation_logits"))
    )


def test_the_total_weighs_terms_by_name():
    losses_ = make_losses(loss_weights=(1, 2, 3, 4, 5, 6))
    values = dict(zip(tiny.TERMS, (1.0, 10.0, 100.0, 1000.0, 10000.0, 100000.0)))
    assert float(losses_.total({name: tf.constant(v) for name, v in values.items()})) == 654321
    without = {name: tf.constant(values[name]) for name in ("rr", "rpn_box", "refine", "rpn_score")}
    assert float(losses_.total(without)) == 4321


def test_without_label_heads_their_terms_are_absent():
    batch = tiny.batch(CONFIG, 2)
    outputs = make_outputs(batch)
    del outputs["entity_logits"], outputs["relation_logits"]
    assert tuple(make_losses()(outputs, batch)) == tiny.TERMS[:4]


def emptied(batch, what):
    zero = {name: tf.zeros_like(value) for name, value in batch.items()}
    names = {
        "boxes": ("true_boxes", "box_mask", "entities", "subject_of", "object_of", "queries", "query_mask"),
        "queries": ("queries", "query_mask", "subject_of", "object_of"),
        "relations": (),
    }[what]
    return {**batch, **{name: zero[name] for name in names}, "relations": zero["relations"] - 1}


@pytest.mark.parametrize("what", ["boxes", "queries", "relations", "proposals"])
@pytest.mark.parametrize("balance", [True, False])
def test_terms_and_gradients_are_finite_without(what, balance):
    batch = tiny.batch(CONFIG, 2)
    outputs = make_outputs(batch)
    if what == "proposals":
        outputs.update(proposals=tf.zeros_like(outputs["proposals"]), valid=tf.zeros_like(outputs["valid"]))
    else:
        batch = emptied(batch, what)
    terms, gradients = compute(make_losses(rr_balance=balance), outputs, batch)
    assert all(np.isfinite(value) for value in terms.values())
    assert all(np.all(np.isfinite(value)) for value in gradients.values())
    is_zero = {
        "boxes": {"rpn_box", "rr", "refine", "entity", "relation"},
        "queries": {"rr"},
        "relations": set(),
        "proposals": {"rr", "refine", "entity", "relation"},
    }[what]
    assert {name for name, value in terms.items() if value == 0} == is_zero


def test_padding_gets_no_gradient():
    batch = tiny.batch(CONFIG, 2)
    _, gradients = compute(make_losses(), make_outputs(batch), batch)
    role, deltas = gradients["rr", "role_logits"], gradients["refine", "deltas"]
    entity, relation = gradients["entity", "entity_logits"], gradients["relation", "relation_logits"]
    assert not role[:, -1].any() and not role[:, :, 5].any()  # The padded query, the padded proposal.
    assert np.all(np.abs(role[:, :-1, :5]).max(-1) > 0)
    for gradient in (deltas, entity):  # Neither padding nor background has a true box.
        assert not gradient[:, 4:].any() and np.all(np.abs(gradient[:, :4]).max(-1) > 0)
    assert not relation[:, 4:].any() and not relation[:, :, 4:].any()
    assert np.all(relation[:, :4, :4] != 0)


def test_what_stands_in_padding_does_not_matter():
    batch = tiny.batch(CONFIG, 2)
    changed = {name: value.numpy().copy() for name, value in batch.items()}
    changed["true_boxes"][:, -1] = changed["true_boxes"][:, 0]  # Exactly a proposal's box, were it not padding.
    changed["entities"][:, -1] = tiny.NUM_ENTITIES - 1
    changed["queries"][:, -1] = 1
    changed["subject_of"][:, -1] = changed["object_of"][:, -1] = True
    outputs = make_outputs(batch)
    other = {name: value.numpy().copy() for name, value in outputs.items()}
    for name in ("role_logits", "relation_logits"):
        other[name][:, :, 5] = 30.0
    for name in ("deltas", "entity_logits", "relation_logits"):
        other[name][:, 5] = -30.0
    terms, expected = make_losses()(other, changed), make_losses()(outputs, batch)
    for name, value in terms.items():
        assert float(value) == pytest.approx(float(expected[name]), rel=1e-6), name


def test_a_batch_is_the_mean_of_its_images():
    batch = tiny.batch(CONFIG, 3)
    empty = emptied(batch, "boxes")
    batch = {name: tf.concat([value[:2], empty[name][2:]], 0) for name, value in batch.items()}
    outputs, losses_ = make_outputs(batch), make_losses()
    single = [
        losses_(
            {k: v if k == "anchors" else v[i : i + 1] for k, v in outputs.items()},
            {k: v[i : i + 1] for k, v in batch.items()},
        )
        for i in range(3)
    ]
    for name, value in losses_(outputs, batch).items():
        assert float(value) == pytest.approx(np.mean([float(terms[name]) for terms in single]), rel=1e-5), name


def hand_made():
    """One image: proposal 0 is the subject, 1 the object, 2 and 3 other boxes, 4 background, 5 padding; one query."""
    batch = {name: value.numpy()[:1].copy() for name, value in tiny.batch(CONFIG, 1).items()}
    batch["true_boxes"][0] = [[0, 0, 20, 20], [0, 30, 20, 50], [30, 0, 50, 20], [30, 30, 50, 50], [0, 0, 0, 0]]
    batch["entities"][0] = [3, 0, 1, 4, 0]
    batch["subject_of"][:], batch["object_of"][:] = False, False
    batch["subject_of"][0, 0, 0] = batch["object_of"][0, 0, 1] = True
    batch["query_mask"][0] = [True, False, False]
    batch["relations"][0] = -1
    batch["relations"][0, :3] = [[0, 1, 1], [0, 2, 1], [2, 0, 3]]
    outputs = make_outputs({name: tf.constant(value) for name, value in batch.items()})
    outputs = {name: value.numpy() for name, value in outputs.items()}
    outputs["proposals"][0, :4] = batch["true_boxes"][0, :4]
    return outputs, batch


def cross_entropy(logits, label):
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum()) - logits[label]


def test_the_rr_term_by_hand():
    outputs, batch = hand_made()
    of_box = [cross_entropy(outputs["role_logits"][0, 0, k], label) for k, label in enumerate([1, 2, 3, 3, 0])]
    plain = float(make_losses(rr_balance=False)(outputs, batch)["rr"])
    assert plain == pytest.approx(np.mean(of_box), rel=1e-5)
    balanced = float(make_losses(rr_balance=True)(outputs, batch)["rr"])
    # Two positive boxes, one of the background: it weighs 0.5 * 2 / (1 + 1).
    assert balanced == pytest.approx((sum(of_box[:4]) + 0.5 * of_box[4]) / 4.5, rel=1e-5)


def test_a_box_in_both_roles_counts_half_and_half():
    outputs, batch = hand_made()
    batch["object_of"][0, 0] = [True, False, False, False, False]
    of_box = [cross_entropy(outputs["role_logits"][0, 0, k], label) for k, label in enumerate([1, 3, 3, 3, 0])]
    of_box[0] = (of_box[0] + cross_entropy(outputs["role_logits"][0, 0, 0], 2)) / 2
    value = float(make_losses()(outputs, batch)["rr"])
    assert value == pytest.approx((sum(of_box[:4]) + 0.25 * of_box[4]) / 4.25, rel=1e-5)


def test_the_entity_and_relation_terms_by_hand():
    outputs, batch = hand_made()
    terms = make_losses()(outputs, batch)
    entity = [cross_entropy(outputs["entity_logits"][0, k], label) for k, label in enumerate([3, 0, 1, 4])]
    assert float(terms["entity"]) == pytest.approx(np.mean(entity), rel=1e-5)
    truth = np.zeros([4, 4, R])
    truth[[0, 0, 2], [1, 1, 3], [1, 2, 0]] = 1
    probabilities = 1 / (1 + np.exp(-outputs["relation_logits"][0, :4, :4].astype(np.float64)))
    relation = -np.log(np.where(truth == 1, probabilities, 1 - probabilities)).sum() / 3
    assert float(terms["relation"]) == pytest.approx(relation, rel=1e-5)


def test_the_refine_term_by_hand():
    outputs, batch = hand_made()
    outputs["proposals"][0, 0] = [0, 4, 20, 24]
    target = np.zeros([4, 4])
    target[0] = [0, 10 * -4 / 20, 0, 0]
    error = np.abs(outputs["deltas"][0, :4] - target)
    for beta in (1.0, 0.1):
        expected = np.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta).sum(1).mean()
        assert float(make_losses(refine_beta=beta)(outputs, batch)["refine"]) == pytest.approx(expected, rel=1e-5)


def test_the_rpn_terms_by_hand():
    batch = tiny.batch(CONFIG, 1)
    losses_, outputs = make_losses(), make_outputs(batch)
    rule = {
        "positive_iou": CONFIG.rpn_positive_iou,
        "negative_iou": CONFIG.rpn_negative_iou,
        "num_samples": CONFIG.rpn_samples,
    }
    labels, encoded = (value.numpy() for value in targets.rpn_targets(ANCHORS, batch, **rule))
    terms = losses_(outputs, batch)
    logits = outputs["rpn_scores"].numpy().astype(np.float64)
    entropy = np.where(labels == 1, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))
    assert float(terms["rpn_score"]) == pytest.approx(entropy[labels >= 0].sum() / CONFIG.rpn_samples, rel=1e-5)
    error = np.abs(outputs["rpn_boxes"].numpy() - encoded).reshape([-1, 4])[labels.ravel() == 1]
    expected = np.where(error < 1 / 9, 4.5 * error**2, error - 1 / 18).mean()
    assert float(terms["rpn_box"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.stack
@pytest.mark.skipif(HAS_ADDONS, reason="tensorflow-addons is installed")
def test_the_giou_loss_without_the_addons_names_the_extra():
    with pytest.raises(ValueError, match=r"--refine_loss=giou needs tensorflow-addons.*\[addons\]"):
        make_losses(refine_loss="giou")


@pytest.mark.stack
@pytest.mark.skipif(not HAS_ADDONS, reason="needs tensorflow-addons, of the extra [addons]")
def test_the_giou_loss_by_hand():
    outputs, batch = hand_made()
    losses_ = make_losses(refine_loss="giou")
    outputs["deltas"] = np.zeros_like(outputs["deltas"])
    assert float(losses_(outputs, batch)["refine"]) == pytest.approx(0.0, abs=1e-5)
    outputs["proposals"][0, 0] = [0, 5, 20, 25]  # 15 of 20 columns shared: IoU 300 / 500, and the hull has no gap.
    terms, gradients = compute(losses_, {k: tf.constant(v) for k, v in outputs.items()}, batch)
    assert terms["refine"] == pytest.approx((1 - 300 / 500) / 4, abs=1e-4)
    gradient = gradients["refine", "deltas"]
    assert np.all(np.isfinite(gradient)) and gradient[0, 0, 1] > 0 and not gradient[0, 4:].any()


def test_encoding_the_truth_minimises_the_refine_term():
    outputs, batch = hand_made()
    outputs["proposals"][0, :4] += [1, -2, 2, 1]
    outputs["deltas"] = box_lib.encode(batch["true_boxes"][:, [0, 1, 2, 3, 4, 4]], tf.constant(outputs["proposals"]))
    assert float(make_losses()(outputs, batch)["refine"]) == pytest.approx(0.0, abs=1e-8)
