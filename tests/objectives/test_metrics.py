"""The metric, against a literal implementation on lists and integers."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dsg_tf.data import roles
from dsg_tf.model import heads
from dsg_tf.objectives import metrics

L, N, M, Q = metrics.MASK_SIZE, 4, 3, 2
HEIGHT, WIDTH = 224, 90


def literal_mask(boxes, selected):
    """The cells of boxes in whole pixels, in whole numbers."""
    cells = set()
    for (y0, x0, y1, x1), chosen in zip(boxes, selected):
        if chosen:
            rows = range(y0 * L // HEIGHT, -(-y1 * L // HEIGHT))
            columns = range(x0 * L // WIDTH, -(-x1 * L // WIDTH))
            cells |= {(row, column) for row in rows for column in columns}
    return cells


def literal_iou(first, second):
    return len(first & second) / len(first | second) if first | second else 0.0


def literal_select(logits, valid, label):
    chosen = [bool(v) and int(np.argmax(row)) == label for row, v in zip(logits, valid)]
    if not any(chosen) and any(valid):
        probabilities = [np.exp(row[label]) / np.exp(row).sum() if v else -1 for row, v in zip(logits, valid)]
        chosen = [k == int(np.argmax(probabilities)) for k in range(len(valid))]
    return chosen


@st.composite
def boxes(draw, count):
    y, x = st.integers(0, HEIGHT), st.integers(0, WIDTH)
    rows = draw(st.lists(st.tuples(y, x, y, x), min_size=count, max_size=count))
    return [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in rows]


def flags(*shape):
    count = int(np.prod(shape))
    return st.lists(st.booleans(), min_size=count, max_size=count).map(lambda v: np.reshape(v, shape))


@settings(deadline=None)
@given(boxes(N), boxes(M), flags(N), flags(2, Q, M), st.integers(0, 2**31))
def test_the_iou_of_queries_is_the_literal_one(predicted, truth, valid, role_of, seed):
    logits = np.random.default_rng(seed).normal(size=[Q, N, roles.NUM_LABELS]).astype(np.float32)
    outputs = {
        "boxes": tf.constant([predicted], tf.float32),
        "valid": valid[np.newaxis],
        **heads.answers(tf.constant(logits[np.newaxis]), valid[np.newaxis]),
    }
    batch = {
        "true_boxes": tf.constant([truth], tf.float32),
        "image_size": tf.constant([[HEIGHT, WIDTH]], tf.float32),
        "subject_of": role_of[:1],
        "object_of": role_of[1:],
    }
    found = metrics.referring_iou(outputs, batch)
    for number, role in enumerate(roles.ROLES):
        for query in range(Q):
            chosen = literal_select(logits[query], valid, roles.LABEL_OF[role])
            assert outputs[f"{role}_mask"][0, query].numpy().tolist() == chosen
            expected = literal_iou(literal_mask(predicted, chosen), literal_mask(truth, role_of[number, query]))
            assert float(found[f"{role}_iou"][0, query]) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(boxes(N), flags(N))
def test_a_mask_covers_the_literal_cells(predicted, selected):
    normalised = np.array(predicted, np.float32) / np.array([HEIGHT, WIDTH] * 2, np.float32)
    mask = metrics.rasterize(tf.constant(normalised), selected).numpy()
    assert mask.shape == (L, L)
    assert {tuple(cell) for cell in np.argwhere(mask).tolist()} == literal_mask(predicted, selected)


def answers(labels, size=1, valid=(True,) * N):
    """Outputs whose proposals are classified as ``labels`` ``[Q, N]``; boxes in a 14 x 14 image."""
    boxes = tf.constant([[[0, 0, 7, 7], [7, 7, 14, 14], [0, 7, 7, 14], [0, 0, 14, 14]]] * size, tf.float32)
    valid = tf.constant([valid] * size)
    return {
        "boxes": boxes,
        "proposals": boxes,
        "valid": valid,
        **heads.answers(5 * tf.one_hot([labels] * size, roles.NUM_LABELS), valid),
    }


def truth(subjects, objects):
    boxes = tf.constant([[[0, 0, 7, 7], [7, 7, 14, 14], [0, 0, 7, 14]]], tf.float32)
    return {
        "true_boxes": boxes,
        "box_mask": tf.constant([[True] * M]),
        "image_size": tf.constant([[14.0, 14.0]]),
        "subject_of": np.array([subjects], bool),
        "object_of": np.array([objects], bool),
    }


BG, SUB, OBJ, OTH = roles.BACKGROUND, roles.SUBJECT, roles.OBJECT, roles.OTHER


def test_the_right_answer_scores_one():
    found = metrics.referring_iou(
        answers([[SUB, OBJ, OTH, BG], [SUB, OBJ, SUB, OTH]]), truth([[1, 0, 0], [0, 0, 1]], [[0, 1, 0], [0, 1, 0]])
    )
    for name in ("subject", "object"):
        np.testing.assert_allclose(found[f"{name}_iou"], [[1, 1]])


def test_half_and_wrong_answers():
    found = metrics.referring_iou(
        answers([[SUB, OBJ, SUB, BG], [OBJ, SUB, OTH, OTH]]), truth([[1, 0, 0], [1, 0, 0]], [[0, 1, 0], [1, 1, 0]])
    )
    np.testing.assert_allclose(found["subject_iou"], [[0.5, 0]])
    np.testing.assert_allclose(found["object_iou"], [[1, 0.5]])


def test_without_a_subject_the_most_probable_one_answers():
    logits = 5 * np.eye(roles.NUM_LABELS, dtype=np.float32)[[[[BG, BG, BG, BG], [BG, BG, BG, BG]]]]
    logits[0, 0, 1, SUB] = 2.0  # Largest logit ...
    logits[0, 0, 1, BG] = 9.0
    logits[0, 0, 2, SUB] = 1.0  # ... but this has the largest probability.
    logits[0, 0, 2, BG] = 2.0
    chosen = heads.answers(tf.constant(logits), tf.ones([1, N], tf.bool))["subject_mask"].numpy()
    assert chosen[0, 0].tolist() == [False, False, True, False] and chosen[0, 1].sum() == 1
    valid = tf.constant([[True, True, False, True]])
    chosen = heads.answers(tf.constant(logits), valid)["subject_mask"].numpy()
    assert not chosen[..., 2].any() and chosen.sum(-1).tolist() == [[1, 1]]


def test_boxes_that_are_not_valid_never_answer():
    outputs = answers([[SUB, SUB, SUB, SUB], [BG, BG, BG, BG]], valid=(False,) * N)
    assert not outputs["subject_mask"].numpy().any() and not outputs["subject_scores"].numpy().any()
    found = metrics.referring_iou(outputs, truth([[1, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 0, 0]]))
    assert not any(value.numpy().any() for value in found.values())


def test_padded_queries_are_finite_and_leave_the_others_alone():
    full = truth([[1, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]])
    found = metrics.referring_iou(answers([[SUB, OBJ, OTH, BG], [SUB, OBJ, OTH, BG]]), full)
    np.testing.assert_allclose(found["subject_iou"], [[1, 0]])
    np.testing.assert_allclose(found["object_iou"], [[1, 0]])


def test_proposal_recall():
    def recall(valid=(True,) * N, box_mask=(True,) * M, **changed):
        outputs = answers([[BG] * N] * Q, valid=valid)
        batch = {**truth(np.zeros([Q, M]), np.zeros([Q, M])), "box_mask": tf.constant([box_mask]), **changed}
        return [int(value) for value in metrics.proposal_recall(outputs, batch)]

    assert recall() == [3, 3]
    assert recall(valid=[False, True, False, False]) == [1, 3]
    assert recall(valid=[False, True, False, False], box_mask=[True, False, True]) == [0, 2]
    # IoU with the best proposal: 1/2, which counts; 25 of 73 pixels; none.
    others = tf.constant([[[0.0, 0, 7, 14], [2, 2, 9, 9], [0, 0, 0, 0]]])
    assert recall(true_boxes=others) == [1, 3]
