"""Scores in bins, and their precision and recall, against counting one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tiny

from dsg_tf.objectives import score_bins


def reference_bins(rows) -> np.ndarray:
    """Counts of (score, whether it is true), one by one."""
    bins = np.zeros([2, 101], int)
    for score, is_true in rows:
        bins[int(is_true), max(k for k in range(101) if score >= np.float32(k) / np.float32(100))] += 1
    return bins


def scores_between_bins(rng, shape):
    """Never at the edge of a bin, where rounding decides."""
    return ((rng.integers(0, 100, shape) + rng.uniform(0.1, 0.9, shape)) / 100).astype(np.float32)


def test_bins_are_those_of_counting_one_by_one():
    rng = np.random.default_rng(0)
    values, is_true = scores_between_bins(rng, [4, 5, 3]), rng.random([4, 5, 3]) < 0.4
    values[0, 0], values[0, 1] = 0.0, 1.0
    counts = rng.random([4, 5, 1]) < 0.8
    counts[0] = True
    found = score_bins.in_bins(tf.constant(values), tf.constant(is_true), tf.constant(counts)).numpy()
    for label in range(3):
        kept = counts[..., 0]
        np.testing.assert_array_equal(
            found[label], reference_bins(zip(values[kept][:, label], is_true[kept][:, label]))
        )
    assert found[:, :, 100].sum() == 3 and found.sum() == 3 * counts.sum()


def test_a_probability_above_one_by_rounding_counts_as_one():
    found = score_bins.in_bins(tf.constant([[1.0000001]]), tf.constant([[True]]), tf.constant([[True]])).numpy()
    assert found[0, 1, 100] == 1 and found.sum() == 1


def test_precision_and_recall_are_those_of_the_definition():
    rng = np.random.default_rng(1)
    values, is_true = scores_between_bins(rng, [300]) * 0.9, rng.random(300) < 0.3
    found = score_bins.precision_recall(reference_bins(zip(values, is_true)))
    for k in range(101):
        yes = values >= k / 100
        right, wrong = sum(yes & is_true), sum(yes & ~is_true)
        expected = {
            "true_positive_counts": right,
            "false_positive_counts": wrong,
            "true_negative_counts": sum(~yes & ~is_true),
            "false_negative_counts": sum(~yes & is_true),
            "precision": right / (right + wrong) if right + wrong else 0,
            "recall": right / sum(is_true),
        }
        assert {name: value[k] for name, value in found.items()} == pytest.approx(expected), k
    assert found["precision"][100] == 0 < found["precision"][0]
    assert not score_bins.precision_recall(np.zeros([2, 101], int))["recall"].any()


def iou(first, second):
    height, width = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return height * width / (area(first) + area(second) - height * width)


def made_up(rng):
    """A batch of three images, of which the last is fill, and outputs whose boxes are ground truth, moved or not."""
    settings = tiny.config()
    batch = {name: value.numpy() for name, value in tiny.batch(settings, 3).items()}
    batch["example_mask"] = np.array([True, True, False])
    for name in ("box_mask", "query_mask", "subject_of", "object_of"):
        batch[name][2] = False
    batch["relations"][2] = -1
    num_boxes = 6
    proposals = np.tile(batch["true_boxes"][:, :1], [1, num_boxes, 1])
    proposals[:, 1:4] = batch["true_boxes"][:, 1:4] + rng.uniform(-3, 3, [3, 3, 4])
    proposals[:, 4:] = batch["true_boxes"][:, :2] + [0, 8, 0, 8]
    logits = lambda *shape: rng.normal(size=[3, *shape]).astype(np.float32)
    outputs = {
        "proposals": proposals.astype(np.float32),
        "valid": rng.random([3, num_boxes]) < 0.9,
        "proposal_scores": scores_between_bins(rng, [3, num_boxes]),
        "subject_scores": scores_between_bins(rng, [3, settings.max_queries, num_boxes]),
        "object_scores": scores_between_bins(rng, [3, settings.max_queries, num_boxes]),
        "entity_logits": logits(num_boxes, tiny.NUM_ENTITIES),
        "relation_probabilities": scores_between_bins(rng, [3, num_boxes, num_boxes, tiny.NUM_RELATIONS]),
    }
    return outputs, batch


def test_counts_of_a_batch_are_those_of_counting_one_by_one():
    outputs, batch = made_up(np.random.default_rng(2))
    found = {
        name: value.numpy()
        for name, value in score_bins.count(
            {k: tf.constant(v) for k, v in outputs.items()}, {k: tf.constant(v) for k, v in batch.items()}
        ).items()
    }
    entity_probability = tf.nn.softmax(outputs["entity_logits"]).numpy()
    relation_probability = outputs["relation_probabilities"]

    rows: dict = {}
    note = lambda name, score, is_true: rows.setdefault(name, []).append((score, is_true))
    for image in range(3):
        truth = [box for box in range(5) if batch["box_mask"][image, box]]
        box_of, is_off = {}, set()
        for i, proposal in enumerate(outputs["proposals"][image]):
            overlaps = {box: iou(proposal, batch["true_boxes"][image, box]) for box in truth}
            best = max(overlaps, key=overlaps.get) if truth else None
            if not outputs["valid"][image, i]:
                continue
            if truth and overlaps[best] >= 0.5:
                box_of[i] = best
            if not truth or overlaps[best] < 0.3:
                is_off.add(i)
            if batch["example_mask"][image]:
                note("proposal", outputs["proposal_scores"][image, i], i in box_of)
        for query, role in itertools.product(range(3), ("subject", "object")):
            if batch["query_mask"][image, query]:
                for i in {*box_of, *is_off}:
                    note(
                        role,
                        outputs[f"{role}_scores"][image, query, i],
                        i in box_of and batch[f"{role}_of"][image, query, box_of[i]],
                    )
        triplets = set(map(tuple, batch["relations"][image].tolist()))
        for i, box in box_of.items():
            for label in range(tiny.NUM_ENTITIES):
                note(("entity", label), entity_probability[image, i, label], batch["entities"][image, box] == label)
            note("right_class", entity_probability[image, i, batch["entities"][image, box]], True)
            for j, other in box_of.items():
                for label in range(tiny.NUM_RELATIONS):
                    note(("relation", label), relation_probability[image, i, j, label], (box, label, other) in triplets)
    for name in ("proposal", "subject", "object", ("relation", 0)):
        assert {bool(truth) for _, truth in rows[name]} == {False, True}, name
    for name, pairs in rows.items():
        kind, label = name if isinstance(name, tuple) else (name, 0)
        np.testing.assert_array_equal(found[kind][label], reference_bins(pairs), err_msg=str(name))
    true_entities = batch["entities"][batch["box_mask"]]
    np.testing.assert_array_equal(found["entity_truth"], np.bincount(true_entities, minlength=tiny.NUM_ENTITIES))
    relations = batch["relations"][:2, :-1, 1].reshape(-1)
    np.testing.assert_array_equal(found["relation_truth"], np.bincount(relations, minlength=tiny.NUM_RELATIONS))


def test_the_cells_of_maps_are_counted_against_the_true_mask():
    batch = {name: value.numpy() for name, value in tiny.batch(tiny.config(), 2).items()}
    maps = scores_between_bins(np.random.default_rng(3), [2, 3, 14, 14])
    found = score_bins.count(
        {"subject_map": tf.constant(maps), "object_map": tf.constant(1 - maps)},
        {k: tf.constant(v) for k, v in batch.items()},
    )
    assert set(found) == {"subject", "object"}
    height, width = batch["image_size"][0]
    rows = []
    for image, query, y, x in np.ndindex(2, 3, 14, 14):
        if batch["query_mask"][image, query]:
            boxes = batch["true_boxes"][image][batch["subject_of"][image, query]] / [height, width, height, width] * 14
            covered = any(np.floor(b[0]) <= y < np.ceil(b[2]) and np.floor(b[1]) <= x < np.ceil(b[3]) for b in boxes)
            rows.append((maps[image, query, y, x], covered))
    np.testing.assert_array_equal(found["subject"][0], reference_bins(rows))
