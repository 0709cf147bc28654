"""The answers to several triplets as one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsg_tf.words import combine

ROW = st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4)
PROBABILITIES = st.lists(ROW, min_size=1, max_size=6).map(lambda rows: np.array(rows, np.float32))


def test_the_largest_counts():
    probabilities = np.array([[0.2, 0.9, 0.0], [0.3, 0.4, 0.0], [0.25, 0.1, 0.1]])
    np.testing.assert_array_equal(combine.union(probabilities), [0.3, 0.9, 0.1])
    assert combine.union(np.array([0.25, 0.5])) == 0.5


@given(PROBABILITIES)
@settings(deadline=None)
def test_bounds_of_a_union(probabilities):
    found = combine.union(probabilities)
    assert found.dtype == np.float32 and (found <= 1).all() and (found >= probabilities).all()
    assert (found <= probabilities.astype(float).sum(axis=0)).all()


@given(PROBABILITIES, st.integers(0, 2**32 - 1), st.integers(0, 6))
@settings(deadline=None)
def test_the_order_says_nothing_nor_does_a_triplet_that_is_not_there(probabilities, seed, place):
    expected = combine.union(probabilities)
    np.testing.assert_array_equal(combine.union(np.random.default_rng(seed).permutation(probabilities)), expected)
    more = np.insert(probabilities, min(place, len(probabilities)), 0, axis=0)
    np.testing.assert_array_equal(combine.union(more), expected)


@given(ROW)
@settings(deadline=None)
def test_one_triplet_stays_as_it_is(row):
    np.testing.assert_array_equal(combine.union(np.array([row], np.float32)), np.array(row, np.float32))


def test_no_triplet_has_no_probability():
    with pytest.raises(ValueError):
        combine.union(np.zeros([0, 3]))


def test_answer_sets_are_put_together_and_the_best_box_answers_where_they_are_empty():
    valid = np.array([True, True, True, False])
    scores = np.array([0.1, 0.4, 0.3, 0.9])
    chosen = np.array([[1, 0, 0, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(combine.answer_set(chosen, scores, valid), [True, False, True, False])
    nothing = np.zeros([2, 4], bool)
    np.testing.assert_array_equal(combine.answer_set(nothing, scores, valid), [False, True, False, False])
    assert not combine.answer_set(nothing, scores, np.zeros(4, bool)).any()
