"""Of boxes that lie on each other, one answers."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from plain_geometry import area_of, intersection_of

from dsg_tf import boxes as box_lib
from dsg_tf.data.roles import ROLES
from dsg_tf.model import duplicates

OVERLAP = 0.6


@pytest.fixture(params=range(3))
def found(request):
    """Boxes `[2, 6, 4]` and answers to 5 queries about them, with ties and with an empty box."""
    rng = np.random.default_rng(request.param)
    start = rng.integers(0, 30, [2, 6, 2])
    boxes = np.concatenate([start, start + rng.integers(5, 40, [2, 6, 2])], axis=-1).astype(np.float32)
    boxes[0, 3, 2:] = boxes[0, 3, :2]
    masks = {f"{role}_mask": tf.constant(rng.random([2, 5, 6]) < 0.7) for role in ROLES}
    scores = {f"{role}_scores": tf.constant(rng.integers(0, 4, [2, 5, 6]) / 4, tf.float32) for role in ROLES}
    return tf.constant(boxes), {**masks, **scores}


def expected(boxes, mask, scores):
    """The same for one query, in plain words."""
    kept = mask.copy()
    for i in np.flatnonzero(mask):
        for j in np.flatnonzero(mask):
            smaller = min(area_of(boxes[i]), area_of(boxes[j]))
            lies_on = i != j and smaller > 0 and intersection_of(boxes[i], boxes[j]) >= OVERLAP * smaller
            if lies_on and (scores[j], -j) > (scores[i], -i):
                kept[i] = False
    return kept


def test_a_box_on_a_more_probable_one_does_not_answer(found):
    boxes, before = found
    after = duplicates.drop(before, boxes, OVERLAP)
    changed = 0
    for role in ROLES:
        masks, scores = before[f"{role}_mask"].numpy(), before[f"{role}_scores"].numpy()
        for image, query in np.ndindex(2, 5):
            wanted = expected(boxes[image].numpy(), masks[image, query], scores[image, query])
            np.testing.assert_array_equal(after[f"{role}_mask"][image, query], wanted)
            assert wanted.any() == masks[image, query].any()
            changed += (wanted != masks[image, query]).any()
        np.testing.assert_array_equal(after[f"{role}_scores"], before[f"{role}_scores"])
    assert changed


def test_the_order_of_boxes_does_not_matter_where_no_two_are_as_probable(found):
    boxes, answers = found
    rng, order = np.random.default_rng(5), np.array([3, 0, 5, 1, 4, 2])
    answers = {**answers, **{f"{role}_scores": tf.constant(rng.random([2, 5, 6]), tf.float32) for role in ROLES}}
    after = duplicates.drop(answers, boxes, OVERLAP)
    moved = {name: tf.gather(value, order, axis=2) for name, value in answers.items()}
    moved = duplicates.drop(moved, tf.gather(boxes, order, axis=1), OVERLAP)
    for role in ROLES:
        np.testing.assert_array_equal(moved[f"{role}_mask"], tf.gather(after[f"{role}_mask"], order, axis=2))


def test_overlap_is_the_share_of_the_smaller_box():
    boxes = tf.constant([[[0, 0, 10, 10], [0, 0, 5, 10], [5, 5, 15, 15], [20, 20, 30, 30], [1, 1, 1, 9]]], tf.float32)
    found = box_lib.overlap(boxes)[0].numpy()
    np.testing.assert_allclose(found[0], [1, 1, 0.25, 0, 0])
    np.testing.assert_array_equal(found, found.T)


@pytest.mark.parametrize("system", ["dsg", "no_dsg", "two_step"])
def test_every_system_of_boxes_answers_so(system):
    config = tiny.config(model=system, answer_overlap=0.1, score_threshold=0.0)
    model, batch = tiny.model(config), tiny.batch(config, 2)
    outputs = model(batch)
    near = box_lib.overlap(outputs["boxes"]).numpy()
    for role in ROLES:
        mask = outputs[f"{role}_mask"].numpy()
        assert mask.any(axis=-1)[batch["query_mask"]].all()
        for image, query in np.ndindex(mask.shape[:2]):
            answering = np.flatnonzero(mask[image, query])
            pairs = near[image][np.ix_(answering, answering)] - np.eye(len(answering))
            assert not len(answering) or pairs.max() < 0.1
