"""Crops: windows that cut no box, and scenes in which what is left is as it was."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from dsg_tf.data.batches import crop

HEIGHT, WIDTH, JITTER = 60, 80, 0.7


@st.composite
def boxes_in_image(draw):
    corners = draw(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 4), min_size=0, max_size=8))
    low = np.array([[min(a, c) * (HEIGHT - 2), min(b, d) * (WIDTH - 2)] for a, b, c, d in corners]).reshape([-1, 2])
    high = np.array([[max(a, c) * (HEIGHT - 2), max(b, d) * (WIDTH - 2)] for a, b, c, d in corners]).reshape([-1, 2])
    return np.concatenate([low, high + 1], axis=1).astype(np.float32)


def touches(window, boxes):
    return np.all((boxes[:, :2] < window[2:]) & (boxes[:, 2:] > window[:2]), axis=1)


def holds(window, boxes):
    return np.all((boxes[:, :2] >= window[:2]) & (boxes[:, 2:] <= window[2:]), axis=1)


@settings(max_examples=60, deadline=None)
@given(boxes_in_image(), st.tuples(st.integers(0, 59), st.integers(0, 79), st.integers(1, 60), st.integers(1, 80)))
def test_a_window_grows_until_it_cuts_no_box_and_no_more(boxes, corners):
    y, x, height, width = corners
    window = np.array([y, x, min(y + height, HEIGHT), min(x + width, WIDTH)], np.float32)
    found = crop.uncut(tf.constant(window), tf.constant(boxes), tf.constant([HEIGHT, WIDTH], tf.float32)).numpy()
    assert np.all(found[:2] <= window[:2]) and np.all(found[2:] >= window[2:])
    np.testing.assert_array_equal(found, np.round(found))
    assert np.array_equal(touches(found, boxes), holds(found, boxes))
    # The smallest: what grows box by box, in any order, ends at the same.
    grown = window
    while (cut := touches(grown, boxes) & ~holds(grown, boxes)).any():
        box = boxes[np.flatnonzero(cut)[-1]]
        grown = np.concatenate([np.minimum(grown[:2], np.floor(box[:2])), np.maximum(grown[2:], np.ceil(box[2:]))])
    np.testing.assert_array_equal(found, grown)


def scene(seed, count=6):
    """Boxes on a grid, each of one colour; each is left of all that begin where it ends, or further."""
    rng = np.random.default_rng(seed)
    image = np.zeros([HEIGHT, WIDTH, 3], np.uint8)
    cells = rng.permutation(12)[:count]
    low = np.stack([cells // 4 * 20 + rng.integers(1, 4, count), cells % 4 * 20 + rng.integers(1, 4, count)], axis=1)
    boxes = np.concatenate([low, low + rng.integers(8, 16, [count, 2])], axis=1)
    for number, (y0, x0, y1, x1) in enumerate(boxes):
        image[y0:y1, x0:x1] = 10 * (number + 1)
    left = [[i, 0, j] for i in range(count) for j in range(count) if boxes[i, 3] <= boxes[j, 1]]
    marks = lambda column: np.eye(count, dtype=bool)[[row[column] for row in left]]
    return {
        "image": tf.constant(image),
        "original_size": tf.constant([HEIGHT, WIDTH], tf.float32),
        "boxes": tf.constant(boxes, tf.float32),
        "entities": tf.range(count),
        "relations": tf.constant(left, tf.int32),
        "queries": tf.constant(left, tf.int32),
        "subject_of": tf.constant(marks(0)),
        "object_of": tf.constant(marks(2)),
    }


def test_in_a_part_of_a_scene_boxes_lie_on_their_pixels_and_relations_hold():
    parts = 0
    for seed in range(60):
        whole = scene(seed)
        part = crop.random_crop(whole, JITTER, tf.constant([seed, 1]))
        image, boxes, entities = part["image"].numpy(), part["boxes"].numpy().astype(int), part["entities"].numpy()
        parts += image.shape != (HEIGHT, WIDTH, 3)
        np.testing.assert_array_equal(part["original_size"], image.shape[:2])
        assert set(np.unique(image)) - {0} == {10 * (entity + 1) for entity in entities}  # What is seen has its box.
        for (y0, x0, y1, x1), entity in zip(boxes, entities):
            inside = image == 10 * (entity + 1)
            assert inside[y0:y1, x0:x1].all() and inside.sum() == 3 * (y1 - y0) * (x1 - x0)
        # Of the relations, here queries too, those whose boxes are both there, and all of them.
        pairs = {(entities[i], entities[j]) for i, _, j in part["relations"].numpy()}
        assert pairs == {(i, j) for i, _, j in whole["relations"].numpy() if {i, j} <= set(entities)}
        assert {(i, j) for i, _, j in part["queries"].numpy()} == pairs
        for (i, _, j), subject, object_ in zip(part["queries"].numpy(), part["subject_of"], part["object_of"]):
            assert entities[subject].tolist() == [i] and entities[object_].tolist() == [j]
    assert 15 <= parts <= 45  # About one half.


def test_a_key_gives_one_part_and_no_jitter_gives_the_whole():
    first, again = (crop.random_crop(scene(3), JITTER, tf.constant([4, 2])) for _ in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
    assert crop.random_crop(whole := scene(3), 0.0, tf.constant([4, 2])) is whole


def test_images_shrink_by_as_much_as_the_jitter():
    assert crop.random_shrink(0.0, tf.constant([0, 0])) is None
    shares = np.array([crop.random_shrink(0.4, tf.constant([seed, 0])).numpy() for seed in range(200)])
    assert 70 < (shares == 1).sum() < 130 and 0.6 <= shares.min() < 0.62
