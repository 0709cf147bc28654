"""How well a probability tells what is true from what is not: AUROC, average precision, calibration error.

Own code, since scikit-learn would be a dependency of 40 MB for three sums; ties count as they do there.
"""

from __future__ import annotations

import numpy as np

BINS = 15  # Of equal width, as in Guo et al. 2017, "On Calibration of Modern Neural Networks".


def auroc(truths, others) -> float:
    """The probability that a random truth has a higher score than a random other; equal scores count half.

    Args:
      truths: scores `[K]` of what is true; others: `[L]` of what is not.

    Returns:
      The area under the ROC curve; NaN where there are no truths or no others.
    """
    truths, others = np.asarray(truths, np.float64), np.sort(np.asarray(others, np.float64))
    if not len(truths) or not len(others):
        return float("nan")
    below, not_above = (np.searchsorted(others, truths, side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(others)))


def average_precision(truths, others) -> float:
    """The precision at each threshold, averaged with the recall that the threshold adds as its weight.

    The thresholds are the scores that occur, so that equal scores are never told apart; nothing is interpolated.

    Args:
      truths: scores `[K]` of what is true; others: `[L]` of what is not.

    Returns:
      The average precision; NaN without truths.
    """
    truths, others = np.sort(np.asarray(truths, np.float64)), np.sort(np.asarray(others, np.float64))
    if not len(truths):
        return float("nan")
    # A truth's own score is the threshold that it is found at.
    found, false = (len(scores) - np.searchsorted(scores, truths, "left") for scores in (truths, others))
    return float((found / (found + false)).mean())


def calibration_error(truths, others) -> float:
    """The expected calibration error of a probability.

    Args:
      truths: probabilities `[K]` of what is true; others: `[L]` of what is not.

    Returns:
      The difference of the mean probability and of the share that is true, averaged over `BINS` bins of the
      probability with their counts as weights; NaN without scores.
    """
    scores = np.concatenate([truths, others]).astype(np.float64)
    if not len(scores):
        return float("nan")
    surplus = scores - (np.arange(len(scores)) < len(truths))
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    return float(np.abs(np.bincount(bins, surplus, BINS)).sum() / len(scores))


def reliability(truths, others) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `calibration_error` averages.

    Args:
      truths: probabilities `[K]` of what is true; others: `[L]` of what is not.

    Returns:
      Of each of `BINS` bins, float64: the mean probability; the share that is true; both NaN where there are none; and
      int, how many.
    """
    scores = np.concatenate([truths, others]).astype(np.float64)
    bins = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    number = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        means = np.bincount(bins, scores, BINS) / number
        shares = np.bincount(bins[: len(truths)], minlength=BINS) / number
    return means, shares, number
