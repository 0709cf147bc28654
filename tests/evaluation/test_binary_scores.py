"""AUROC, average precision and calibration against their definitions, one score at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsg_tf.evaluation import binary_scores

# Few values, so that many scores are equal; the ends and the edges of bins among them.
SCORES = st.lists(st.sampled_from([0.0, 0.1, 1 / 15, 0.3, 0.5, 0.51, 0.9, 1.0]), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs_in_the_right_order(truths, others):
    pairs = [1.0 if truth > other else 0.5 if truth == other else 0.0 for truth in truths for other in others]
    assert binary_scores.auroc(truths, others) == pytest.approx(np.mean(pairs))


@given(SCORES, SCORES)
def test_auroc_of_the_opposite_is_the_rest(truths, others):
    assert binary_scores.auroc(truths, others) + binary_scores.auroc(others, truths) == pytest.approx(1.0)


@given(SCORES, SCORES | st.just([]))
def test_average_precision_is_the_sum_over_thresholds(truths, others):
    expected, recall = 0.0, 0.0
    for threshold in sorted({*truths, *others}, reverse=True):
        found, false = (sum(score >= threshold for score in scores) for scores in (truths, others))
        expected += (found / len(truths) - recall) * found / (found + false)
        recall = found / len(truths)
    assert binary_scores.average_precision(truths, others) == pytest.approx(expected)


@given(SCORES | st.just([]), SCORES)
def test_the_calibration_error_is_the_mean_over_bins(truths, others):
    rows = [(score, 1.0) for score in truths] + [(score, 0.0) for score in others]
    bins = {}
    for score, is_true in rows:
        bins.setdefault(min(int(score * 15), 14), []).append((score, is_true))
    expected = sum(len(b) / len(rows) * abs(np.mean(b, axis=0)[0] - np.mean(b, axis=0)[1]) for b in bins.values())
    assert binary_scores.calibration_error(truths, others) == pytest.approx(expected)


def test_scores_by_hand():
    assert binary_scores.auroc([0.9, 0.4], [0.5, 0.1]) == 0.75
    assert binary_scores.average_precision([0.9, 0.4], [0.5, 0.1]) == pytest.approx((1 + 2 / 3) / 2)
    assert binary_scores.auroc([0.5, 0.5], [0.5]) == 0.5 and binary_scores.average_precision([0.5], [0.5]) == 0.5
    assert binary_scores.calibration_error([0.8, 0.8, 0.8, 0.8], [0.8]) == pytest.approx(0.0)
    assert binary_scores.calibration_error([0.8], [0.8]) == pytest.approx(0.3)


def test_without_scores_there_is_no_number():
    assert math.isnan(binary_scores.auroc([], [0.5])) and math.isnan(binary_scores.auroc([0.5], []))
    assert math.isnan(binary_scores.average_precision([], [0.5])) and math.isnan(
        binary_scores.calibration_error([], [])
    )
