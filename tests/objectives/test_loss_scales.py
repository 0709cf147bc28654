"""The loss terms against a literal transcription of the released code's formulas: loops over queries, boxes, pairs."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from loss_cases import ANCHORS, CONFIG, N, make_losses, make_outputs

from dsg_tf.objectives import targets

RELEASED = {"loss_scale": "released", "relation_loss": "softmax", "loss_weights": "auxiliary_rr=0.05".split()}
BACKGROUND, SUBJECT, OBJECT, OTHER = range(4)


@pytest.fixture(scope="module")
def case():
    """Two images with three queries of three (a box in both roles among them) and of two, several relations a pair."""
    batch = {name: value.numpy() for name, value in tiny.batch(CONFIG, 2).items()}
    batch["query_mask"][0] = True
    batch["subject_of"][0, 2, :4], batch["object_of"][0, 2, :4] = [1, 0, 0, 0], [0, 1, 0, 0]
    batch["relations"][0, :3] = [[0, 1, 1], [0, 2, 1], [2, 0, 3]]
    outputs = {k: v.numpy() for k, v in make_outputs({k: tf.constant(v) for k, v in batch.items()}).items()}
    auxiliary = np.random.default_rng(9).normal(size=outputs["role_logits"].shape)
    outputs["auxiliary_role_logits"] = auxiliary.astype(np.float32)
    outputs["proposals"][1, 4] = outputs["proposals"][1, 3] + 1.0  # Two boxes on one true box.
    return outputs, batch


def matched(outputs, batch, image):
    """{box: its true box} of those on one, and the boxes of the background."""
    on_truth, background = {}, set()
    for i in np.flatnonzero(outputs["valid"][image]):
        best, which = 0.0, None
        for m in np.flatnonzero(batch["box_mask"][image]):
            a, b = outputs["proposals"][image, i].astype(float), batch["true_boxes"][image, m].astype(float)
            sides = [min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
            shared = max(sides[0], 0) * max(sides[1], 0)
            iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
            if iou > best:
                best, which = iou, m
        if best >= 0.5:
            on_truth[i] = which
        elif best < 0.3:
            background.add(i)
    return on_truth, background


def cross_entropy(logits, label):
    logits = logits.astype(np.float64)
    return np.log(np.exp(logits).sum()) - logits[label]


def roles_of(batch, image, query, box):
    roles = [label for label, of in ((SUBJECT, "subject_of"), (OBJECT, "object_of")) if batch[of][image, query, box]]
    return roles or [OTHER]


def literal_rr(logits, outputs, batch, image, balance):
    on_truth, background = matched(outputs, batch, image)
    total = weight = num_queries = 0.0
    for query in np.flatnonzero(batch["query_mask"][image]):
        num_queries += 1
        positives = sum(roles_of(batch, image, query, box) != [OTHER] for box in on_truth.values())
        for i in range(N):
            if i in on_truth:
                labels, w = roles_of(batch, image, query, on_truth[i]), 1.0
            elif i in background:
                labels, w = [BACKGROUND], 0.5 * positives / (1 + len(background)) if balance else 1.0
            else:
                continue
            total += w * np.mean([cross_entropy(logits[image, query, i], label) for label in labels])
            weight += w
    return num_queries * total / (weight + 1)


def literal_terms(outputs, batch, image, balance):
    on_truth, _ = matched(outputs, batch, image)
    entity = relation = refine = 0.0
    for i, m in on_truth.items():
        entity += cross_entropy(outputs["entity_logits"][image, i], batch["entities"][image, m])
        p, t = outputs["proposals"][image, i].astype(float), batch["true_boxes"][image, m].astype(float)
        for axis in (0, 1):
            side, true_side = p[axis + 2] - p[axis], t[axis + 2] - t[axis]
            shift = ((t[axis] + t[axis + 2]) - (p[axis] + p[axis + 2])) / 2 / side
            for delta, wanted in ((axis, 10 * shift), (axis + 2, 5 * np.log(true_side / side))):
                error = abs(outputs["deltas"][image, i, delta] - wanted)
                refine += 0.5 * error**2 if error < 1 else error - 0.5
        for j, other in on_truth.items():
            annotated = {r for s, r, o in batch["relations"][image] if (s, o) == (m, other) and r >= 0}
            for r in annotated:
                relation += cross_entropy(outputs["relation_logits"][image, i, j], r)
    return {
        "rr": literal_rr(outputs["role_logits"], outputs, batch, image, balance),
        "auxiliary_rr": literal_rr(outputs["auxiliary_role_logits"], outputs, batch, image, balance),
        "refine": refine / outputs["valid"][image].sum(),
        "entity": entity,
        "relation": relation,
    }


@pytest.mark.parametrize("balance", [True, False])
def test_the_released_scale_is_the_literal_one(case, balance):
    outputs, batch = case
    terms = make_losses(**RELEASED, rr_balance=balance)(outputs, batch)
    images = [literal_terms(outputs, batch, image, balance) for image in range(2)]
    for name in images[0]:
        assert float(terms[name]) == pytest.approx(np.mean([image[name] for image in images]), rel=1e-4), name
    assert all(image["relation"] > 0 for image in images)


def test_the_released_rpn_box_term_is_a_sum_over_the_number_of_samples(case):
    outputs, batch = case
    labels, encoded = (
        value.numpy()
        for value in targets.rpn_targets(
            ANCHORS,
            batch,
            positive_iou=CONFIG.rpn_positive_iou,
            negative_iou=CONFIG.rpn_negative_iou,
            num_samples=CONFIG.rpn_samples,
        )
    )
    of_image = []
    for image in range(2):
        error = np.abs(outputs["rpn_boxes"][image] - encoded[image]).reshape([-1, 4])
        loss = np.where(error < 1 / 9, 0.5 * 9 * error**2, error - 0.5 / 9).sum(-1)
        of_image.append(loss[labels[image].ravel() == 1].sum() / (labels[image] >= 0).sum())
    assert float(make_losses(**RELEASED)(outputs, batch)["rpn_box"]) == pytest.approx(np.mean(of_image), rel=1e-4)


def test_the_released_weights_and_scale_make_the_released_total(case):
    """0.1 of a sum over queries, 0.01 of sums over boxes and pairs; .05 of the auxiliary classifier is half of rr's."""
    outputs, batch = case
    losses = make_losses(**RELEASED)
    terms = {name: float(value) for name, value in losses(outputs, batch).items()}
    expected = terms["rpn_score"] + terms["rpn_box"] + terms["refine"] + 0.1 * terms["rr"]
    expected += 0.01 * (terms["entity"] + terms["relation"]) + 0.05 * terms["auxiliary_rr"]
    assert float(losses.total({k: tf.constant(v) for k, v in terms.items()})) == pytest.approx(expected, rel=1e-5)


def test_twice_the_queries_are_twice_the_released_rr_and_the_same_mean(case):
    outputs, batch = case
    outputs, batch = {**outputs}, {**batch}
    once = [float(make_losses(**changes)(outputs, batch)["rr"]) for changes in (RELEASED, {})]
    for name in ("role_logits", "auxiliary_role_logits"):
        outputs[name] = np.concatenate([outputs[name]] * 2, axis=1)
    for name in ("subject_of", "object_of", "query_mask"):
        batch[name] = np.concatenate([batch[name]] * 2, axis=1)
    twice = [float(make_losses(**changes)(outputs, batch)["rr"]) for changes in (RELEASED, {})]
    assert twice[0] == pytest.approx(2 * once[0], rel=0.1)  # But for the 1 that its divisor has more.
    assert twice[0] > 1.9 * once[0] and twice[1] == pytest.approx(once[1], rel=1e-4)


@pytest.mark.parametrize("scale", ["released", "mean"])
def test_a_softmax_of_relations_learns_only_where_one_is_annotated(case, scale):
    outputs, batch = case
    found = {}
    for kind in ("softmax", "sigmoid"):
        logits = tf.constant(outputs["relation_logits"])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            term = make_losses(relation_loss=kind, loss_scale=scale)({**outputs, "relation_logits": logits}, batch)
            value = term["relation"]
        found[kind] = np.abs(tape.gradient(value, logits)).max(-1) > 0
    annotated = np.zeros([2, N, N], bool)
    for image in range(2):
        on_truth, _ = matched(outputs, batch, image)
        pairs = {(s, o) for s, r, o in batch["relations"][image] if r >= 0}
        for i, m in on_truth.items():
            for j, other in on_truth.items():
                annotated[image, i, j] = (m, other) in pairs
    np.testing.assert_array_equal(found["softmax"], annotated)
    assert 0 < annotated.sum() < found["sigmoid"].sum()


def test_wrong_instances_keep_their_weight_and_background_does_not(case):
    """What the balance does to the gradient of each box."""
    outputs, batch = case
    gradients = []
    for balance in (True, False):
        logits = tf.constant(outputs["role_logits"])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = make_losses(rr_balance=balance)({**outputs, "role_logits": logits}, batch)["rr"]
        gradients.append(tape.gradient(value, logits).numpy())
    on_truth, background = matched(outputs, batch, 0)
    assert background == {4}
    for query in np.flatnonzero(batch["query_mask"][0]):
        balanced, plain = (np.linalg.norm(gradient[0, query, :5], axis=-1) for gradient in gradients)
        shares = balanced / plain
        positives = sum(roles_of(batch, 0, query, box) != [OTHER] for box in on_truth.values())
        np.testing.assert_allclose(shares[:4], shares[0], rtol=1e-4)
        assert shares[4] / shares[0] == pytest.approx(0.5 * positives / 2, rel=1e-4)
