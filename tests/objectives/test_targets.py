"""What anchors and proposals should have answered: cases by hand, and a literal implementation."""

import numpy as np
import pytest
from plain_geometry import iou_of

from dsg_tf import boxes as box_lib
from dsg_tf.data import roles
from dsg_tf.model import detector
from dsg_tf.objectives import targets

NONE, BACKGROUND, SUBJECT, OBJECT, BOTH, OTHER = range(6)
EXPECTED = np.zeros([6, roles.NUM_LABELS], np.float32)
EXPECTED[BACKGROUND, roles.BACKGROUND] = EXPECTED[SUBJECT, roles.SUBJECT] = EXPECTED[OBJECT, roles.OBJECT] = 1
EXPECTED[BOTH, [roles.SUBJECT, roles.OBJECT]] = 0.5
EXPECTED[OTHER, roles.OTHER] = 1


def strip(start, width):
    """A box of height 10: its IoU with a strip of width 10 and the same start is width / 10."""
    return [0, start, 10, start + width]


TRUTH = np.array([[strip(0, 10), strip(20, 10), strip(40, 10), [0, 0, 0, 0]]], np.float32)
PROPOSALS = np.array(
    [[strip(0, 10), strip(20, 9), strip(40, 5), strip(0, 4), strip(20, 3), strip(0, 2.9), strip(80, 10), [0, 0, 0, 0]]],
    np.float32,
)
VALID = np.array([[True] * 7 + [False]])


def scene(**changes):
    """One image: box 0 has both roles in query 0; 0 and 1 are subject and object of query 1; query 2 is padding."""
    subject_of, object_of = np.zeros([2, 1, 3, 4], bool)
    subject_of[0, [0, 1, 2], 0] = object_of[0, 0, 0] = object_of[0, 1, 1] = True
    relations = [[0, 1, 1], [0, 2, 1], [0, 2, 1], [1, 0, 0], [2, 2, 2], [-1, -1, -1]]
    return {
        "true_boxes": TRUTH,
        "box_mask": np.array([[True, True, True, False]]),
        "subject_of": subject_of,
        "object_of": object_of,
        "query_mask": np.array([[True, True, False]]),
        "relations": np.array([relations], np.int32),
        **changes,
    }


def test_each_proposal_takes_the_box_of_largest_iou():
    matches = targets.match(PROPOSALS, VALID, scene())
    assert matches["index"].numpy()[0, :6].tolist() == [0, 1, 2, 0, 1, 0]
    assert matches["iou"].numpy()[0] == pytest.approx([1, 0.9, 0.5, 0.4, 0.3, 0.29, 0, 0], abs=1e-6)
    assert matches["foreground"].numpy()[0].tolist() == [True] * 3 + [False] * 5
    assert matches["background"].numpy()[0].tolist() == [False] * 5 + [True, True, False]


def test_a_padded_box_matches_nothing():
    proposals = np.tile(TRUTH[:, :1], [1, 2, 1])
    batch = scene(box_mask=np.array([[False, True, True, True]]))
    matches = targets.match(proposals, np.array([[True, False]]), batch)
    assert not matches["foreground"].numpy().any()
    assert matches["background"].numpy().tolist() == [[True, False]]


def test_roles_by_hand():
    target, counts = targets.role_targets(targets.match(PROPOSALS, VALID, scene()), scene())
    labels = np.array(
        [
            [BOTH, OTHER, OTHER, NONE, NONE, BACKGROUND, BACKGROUND, NONE],
            [SUBJECT, OBJECT, OTHER, NONE, NONE, BACKGROUND, BACKGROUND, NONE],
        ]
    )
    np.testing.assert_array_equal(target.numpy()[0, :2], EXPECTED[labels])
    np.testing.assert_array_equal(counts.numpy()[0, :2], labels != NONE)
    assert not counts.numpy()[0, 2].any()


def test_relations_by_hand():
    proposals = PROPOSALS[:, [0, 0, 1, 2, 5]]  # Two proposals on box 0, one on 1 and 2 each, one background.
    matches = targets.match(proposals, np.ones([1, 5], bool), scene())
    target, pairs = targets.relation_targets(matches, scene(), 3)
    expected = np.zeros([5, 5, 3])
    expected[[0, 1], 2, 1] = expected[[0, 1], 2, 2] = 1  # Two relations for one pair; one of them is listed twice.
    expected[2, [0, 1], 0] = 1
    expected[3, 3, 2] = 1
    np.testing.assert_array_equal(target.numpy()[0, :4, :4], expected[:4, :4])
    np.testing.assert_array_equal(pairs.numpy()[0], np.outer([1, 1, 1, 1, 0], [1, 1, 1, 1, 0]))
    empty = scene(relations=np.full([1, 6, 3], -1, np.int32))
    assert not targets.relation_targets(matches, empty, 3)[0].numpy().any()


ANCHORS = detector.make_anchors((64, 96), [3], (2.0, 4.0), (0.5, 1.0))[None]
THRESHOLDS = {"positive_iou": 0.6, "negative_iou": 0.3}


def anchor_batch(size=3, boxes=4, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, [40, 60], [size, boxes, 2])
    mask = np.arange(boxes) < np.arange(boxes, boxes - size, -1)[:, None]  # The second image lacks one box, ...
    corners = np.concatenate([low, low + rng.uniform(8, 36, low.shape)], -1) * mask[..., None]
    return {
        "true_boxes": corners.astype(np.float32),
        "box_mask": mask,
        "seed": rng.integers(0, 2**31, [size, 2]).astype(np.int32),
    }


def literal_labels(anchors, boxes):
    """1, 0 or -1 for each anchor and the index of its box, before sampling."""
    iou = np.array([[iou_of(anchor, box) for box in boxes] for anchor in anchors]).reshape([len(anchors), len(boxes)])
    labels = np.full(len(anchors), -1.0)
    for a, row in enumerate(iou):
        if row.max(initial=0) >= THRESHOLDS["positive_iou"]:
            labels[a] = 1
        elif any(0 < iou[:, b].max() <= row[b] + 1e-5 for b in range(len(boxes))):
            labels[a] = 1
        elif row.max(initial=0) < THRESHOLDS["negative_iou"]:
            labels[a] = 0
    return labels, iou.argmax(1) if len(boxes) else np.zeros(len(anchors), int)


def test_anchors_are_labelled_as_the_literal_implementation_does():
    batch, flat = anchor_batch(), ANCHORS.numpy().reshape([-1, 4])
    scores, encoded = targets.rpn_targets(ANCHORS, batch, num_samples=2 * len(flat), **THRESHOLDS)
    assert scores.shape == (3, 384) and encoded.shape == (3, 384, 4)
    by_best_rule = 0
    for image in range(3):
        boxes = batch["true_boxes"][image][batch["box_mask"][image]]
        labels, index = literal_labels(flat.tolist(), boxes.tolist())
        np.testing.assert_array_equal(scores[image], labels)
        deltas = encoded[image].numpy()
        assert not deltas[labels != 1].any()
        moved = box_lib.decode(deltas[labels == 1], flat[labels == 1], weights=(1, 1, 1, 1))
        np.testing.assert_allclose(moved, boxes[index[labels == 1]], atol=1e-2)
        by_best_rule += sum(iou_of(flat[a], boxes[index[a]]) < 0.6 for a in np.flatnonzero(labels == 1))
        assert set(index[labels == 1]) == set(range(len(boxes)))  # No box is left without an anchor.
    assert by_best_rule > 0  # The case covers both rules.


def test_a_sample_has_the_asked_size():
    batch, everything = anchor_batch(), 4 * 8 * 12
    candidates = targets.rpn_targets(ANCHORS, batch, num_samples=2 * everything, **THRESHOLDS)[0].numpy()
    for num_samples in (4, 16, 64):
        scores = targets.rpn_targets(ANCHORS, batch, num_samples=num_samples, **THRESHOLDS)[0].numpy()
        for sample, full in zip(scores, candidates):
            assert np.all((sample == full) | (sample == -1))
            positives = (sample == 1).sum()
            assert positives == min(num_samples // 2, (full == 1).sum())
            assert (sample == 0).sum() == num_samples - positives


def test_a_sample_depends_on_its_own_seed_alone():
    batch = anchor_batch()
    label = lambda batch: targets.rpn_targets(ANCHORS, batch, num_samples=16, **THRESHOLDS)
    scores, encoded = label(batch)
    np.testing.assert_array_equal(label(batch)[0], scores)
    for image in range(3):  # Alone, or as one of a batch.
        alone = label({name: value[image : image + 1] for name, value in batch.items()})
        np.testing.assert_array_equal(alone[0][0], scores[image])
        np.testing.assert_allclose(alone[1][0], encoded[image], atol=1e-6)
    other = label({**batch, "seed": batch["seed"] + 1})[0]
    assert all(np.any(other[image] != scores[image]) for image in range(3))


def test_without_boxes_all_anchors_are_negative():
    batch = anchor_batch()
    batch = {**batch, "true_boxes": 0 * batch["true_boxes"], "box_mask": np.zeros_like(batch["box_mask"])}
    scores, encoded = targets.rpn_targets(ANCHORS, batch, num_samples=16, **THRESHOLDS)
    assert (scores.numpy() == 0).sum(axis=1).tolist() == [16, 16, 16]
    assert not (scores.numpy() == 1).any() and not encoded.numpy().any()
