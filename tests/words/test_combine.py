"""The answers to several triplets as one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsg_tf.words import combine

PROBABILITIES = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)), min_size=1, max_size=6
)


def as_arrays(rows):
    return [number for number, _ in rows], np.array([values for _, values in rows], np.float32)


def test_classes_add_up_and_within_a_class_the_largest_counts():
    classes = ["cube", "ball", "cube"]
    probabilities = np.array([[0.2, 0.9, 0.0], [0.3, 0.4, 0.0], [0.5, 0.1, 0.1]])
    np.testing.assert_allclose(combine.union(classes, probabilities), [0.5 + 0.3, 1.0, 0.1])


@given(PROBABILITIES)
@settings(deadline=None)
def test_bounds(rows):
    classes, probabilities = as_arrays(rows)
    found = combine.union(classes, probabilities)
    assert found.dtype == np.float32 and (found >= probabilities.max(axis=0)).all() and (found <= 1).all()
    assert (found <= probabilities.astype(float).sum(axis=0) + 1e-6).all()


@given(PROBABILITIES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_order_of_triplets_says_nothing(rows, random):
    mixed = random.sample(rows, len(rows))
    np.testing.assert_array_equal(combine.union(*as_arrays(rows)), combine.union(*as_arrays(mixed)))


@given(PROBABILITIES, st.integers(0, 5))
@settings(deadline=None)
def test_a_triplet_that_is_not_there_adds_nothing(rows, number):
    more = [*rows, (number, [0.0] * 4)]
    np.testing.assert_array_equal(combine.union(*as_arrays(rows)), combine.union(*as_arrays(more)))


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
@settings(deadline=None)
def test_one_triplet_stays_as_it_is(values):
    row = np.array([values], np.float32)
    np.testing.assert_array_equal(combine.union([3], row), row[0])


def test_many_small_probabilities_of_a_class_stay_small():
    assert combine.union([0] * 1000, np.full([1000, 1], 0.01))[0] == pytest.approx(0.01)


def test_what_does_not_fit_is_refused():
    for classes, count in (([], 0), ([1], 2), ([1, 2], 1)):
        with pytest.raises(ValueError, match=f"{len(classes)} classes and probabilities of {count} triplets"):
            combine.union(classes, np.zeros([count, 3]))


def test_answer_sets_are_put_together_and_the_best_box_answers_where_they_are_empty():
    valid = np.array([True, True, True, False])
    scores = np.array([0.1, 0.4, 0.3, 0.9])
    chosen = np.array([[1, 0, 0, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(combine.answer_set(chosen, scores, valid), [True, False, True, False])
    nothing = np.zeros([2, 4], bool)
    np.testing.assert_array_equal(combine.answer_set(nothing, scores, valid), [False, True, False, False])
    assert not combine.answer_set(nothing, scores, np.zeros(4, bool)).any()
