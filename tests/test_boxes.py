"""Box geometry, against arithmetic on plain numbers."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_geometry import iou_of

from dsg_tf import boxes as box_lib

# Sixteenths of a pixel: exact in float32, so that only the code under test rounds.
PIXELS = st.integers(0, 1000 * 16).map(lambda sixteenths: sixteenths / 16)
SIZES = st.tuples(st.integers(16, 1200), st.integers(16, 1200)).map(lambda size: np.array(size, np.float32))


@st.composite
def box_arrays(draw, count=3, min_side=0.0):
    """float32 ``[count, 4]``; sides of zero among them unless ``min_side`` is positive."""
    rows = draw(st.lists(st.tuples(PIXELS, PIXELS, PIXELS, PIXELS), min_size=count, max_size=count))
    low, high = np.sort(np.reshape(rows, [count, 2, 2]), axis=1).transpose(1, 0, 2)
    return np.concatenate([low, np.maximum(high, low + min_side)], -1).astype(np.float32)


def contains(outer, inner) -> bool:
    return bool(np.all(outer[..., :2] <= inner[..., :2]) and np.all(outer[..., 2:] >= inner[..., 2:]))


@settings(deadline=None)
@given(box_arrays(), box_arrays())
def test_a_union_is_the_smallest_box_that_contains_both(first, second):
    union = box_lib.union(tf.constant(first), tf.constant(second)).numpy()
    assert contains(union, first) and contains(union, second)
    for low in (0, 1):  # Smallest: each of its sides is a side of one of the two.
        assert np.all((union[:, low] == first[:, low]) | (union[:, low] == second[:, low]))
        assert np.all((union[:, low + 2] == first[:, low + 2]) | (union[:, low + 2] == second[:, low + 2]))
    np.testing.assert_array_equal(box_lib.union(second, first), union)
    np.testing.assert_array_equal(box_lib.union(first, first), first)
    np.testing.assert_array_equal(box_lib.union(union, first), union)


def test_unions_of_all_pairs_by_broadcasting():
    boxes = tf.constant([[0.0, 1, 2, 3], [1, 0, 5, 2], [9, 9, 9, 9]])
    unions = box_lib.union(boxes[:, tf.newaxis], boxes[tf.newaxis]).numpy()
    assert unions[0, 1].tolist() == unions[1, 0].tolist() == [0, 0, 5, 3]
    assert unions[1, 2].tolist() == [1, 0, 9, 9]


@settings(deadline=None)
@given(box_arrays(), SIZES)
def test_scaling_normalising_and_flipping_undo_themselves(boxes, size):
    for kind in (np.asarray, tf.constant):
        values, limits = kind(boxes), kind(size)
        np.testing.assert_allclose(box_lib.scale(box_lib.normalize(values, limits), limits), boxes, rtol=3e-7)
        np.testing.assert_allclose(box_lib.scale(box_lib.scale(values, limits), 1.0 / limits), boxes, rtol=3e-7)
        flipped = box_lib.flip_horizontal(values, limits[1])
        np.testing.assert_allclose(box_lib.flip_horizontal(flipped, limits[1]), boxes, atol=2e-4)
        np.testing.assert_array_equal(np.asarray(flipped)[:, 3] >= np.asarray(flipped)[:, 1], True)


def test_scaling_and_flipping_know_y_from_x():
    box = np.array([[10.0, 20, 30, 60]], np.float32)
    assert box_lib.scale(box, np.array([2.0, 0.5], np.float32)).tolist() == [[20, 10, 60, 30]]
    assert box_lib.normalize(box, np.array([100.0, 200], np.float32)).tolist() == [pytest.approx([0.1, 0.1, 0.3, 0.3])]
    assert box_lib.flip_horizontal(box, 100.0).tolist() == [[10, 40, 30, 80]]
    clipped = box_lib.clip(tf.constant([[[-5.0, -5, 500, 500]]]), tf.constant([[100.0, 200]]))
    assert clipped.numpy().tolist() == [[[0, 0, 100, 200]]]


@pytest.mark.parametrize("length", [224, 230, 240, 600])
def test_normalised_pixels_fall_on_whole_cells_exactly(length):
    """The metric takes floor and ceil of 14 times these, so one rounding error would move a side by a whole cell."""
    pixels = np.arange(length + 1, dtype=np.float32)
    boxes = np.stack([pixels] * 4, -1)
    cells = box_lib.normalize(tf.constant(boxes), tf.constant([length, length], tf.float32)).numpy()[:, 0] * 14
    assert np.floor(cells).tolist() == [k * 14 // length for k in range(length + 1)]
    assert np.ceil(cells).tolist() == [math.ceil(k * 14 / length) for k in range(length + 1)]


@settings(deadline=None)
@given(box_arrays(min_side=1.0), box_arrays(min_side=1.0))
def test_encoding_and_decoding_are_inverse(boxes, anchors):
    for weights in (box_lib.REFINE_WEIGHTS, (1.0, 1.0, 1.0, 1.0)):
        deltas = box_lib.encode(tf.constant(boxes), tf.constant(anchors), weights=weights)
        # Sides grow at most 62.5 times in decoding: Model Garden's guard against overflow.
        reachable = np.all(boxes[:, 2:] - boxes[:, :2] < 62 * (anchors[:, 2:] - anchors[:, :2]), axis=-1)
        decoded = box_lib.decode(deltas, tf.constant(anchors), weights=weights).numpy()
        np.testing.assert_allclose(decoded[reachable], boxes[reachable], atol=2e-2)
        np.testing.assert_allclose(box_lib.decode(tf.zeros_like(deltas), anchors), anchors, atol=1e-3)


def test_encoding_by_hand():
    anchor, box = tf.constant([[0.0, 0, 10, 20]]), tf.constant([[5.0, 4, 15, 44]])
    deltas = box_lib.encode(box, anchor).numpy()[0]
    assert deltas == pytest.approx([10 * 5 / 10, 10 * 14 / 20, 0.0, 5 * math.log(2)], abs=1e-5)


@settings(deadline=None)
@given(box_arrays(count=4), box_arrays(count=3))
def test_iou_is_that_of_plain_arithmetic(boxes, others):
    iou = box_lib.iou(tf.constant(boxes[np.newaxis]), tf.constant(others[np.newaxis])).numpy()[0]
    assert iou.shape == (4, 3) and iou.min() >= 0 and iou.max() <= 1
    expected = [[iou_of(a, b) for b in others.tolist()] for a in boxes.tolist()]
    np.testing.assert_allclose(iou, expected, atol=1e-5)
    swapped = box_lib.iou(tf.constant(others[np.newaxis]), tf.constant(boxes[np.newaxis])).numpy()[0]
    np.testing.assert_allclose(swapped.T, iou, atol=1e-6)
    empty = ~box_lib.non_empty(boxes).numpy()
    assert not iou[empty].any()


def test_which_boxes_are_empty():
    boxes = tf.constant([[0.0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [2, 0, 1, 1], [0, 0, 0, 0]])
    assert box_lib.non_empty(boxes).numpy().tolist() == [True, False, False, False, False]


@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.5, 0.7]))
@settings(deadline=None, max_examples=30)
def test_non_maxima_are_those_of_the_greedy_loop(seed, threshold):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 20, [2, 7, 2])
    candidates = np.concatenate([low, low + rng.uniform(5, 20, low.shape)], -1).astype(np.float32)
    scores = rng.permutation(14).reshape(2, 7).astype(np.float32)
    found = box_lib.non_maxima(tf.constant(candidates), tf.constant(scores), threshold).numpy()
    overlaps = box_lib.iou(candidates, candidates).numpy()
    for image in range(2):
        kept = []
        for k in np.argsort(-scores[image]):
            if all(overlaps[image, k, other] <= threshold for other in kept):
                kept.append(int(k))
        assert np.flatnonzero(found[image]).tolist() == sorted(kept)


def test_whole_pixels_are_those_of_the_original_image():
    """And equal an annotation's box bit for bit, resized as the input pipeline does."""
    size, original = (
        np.array([[213.0, 320.0], [240.0, 320.0]], np.float32),
        np.array([[320, 480], [240, 320]], np.float32),
    )
    truth = np.array([[[3, 7, 101, 240]], [[0, 160, 120, 320]]], np.float32)
    factors = (size / original)[:, np.newaxis]
    annotated = box_lib.scale(truth, factors)
    found = box_lib.to_whole_pixels(tf.constant(annotated + 0.2), size, original)
    np.testing.assert_array_equal(found, annotated)
    off = box_lib.to_whole_pixels(tf.constant(annotated + 0.7), size, original)
    np.testing.assert_allclose(off, box_lib.scale(truth + 1, factors), rtol=1e-6)
