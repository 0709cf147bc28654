"""The answers to several triplets as the answer to the one question that stands for them.

That a box has the role in at least one of them is the union of events. Its probability is at least the largest of
theirs and at most their sum, and for each box the largest is taken:

    P(subject) = max over triplets t of P_t(subject)

A box has one class, so that triplets of different subject classes exclude each other, and in principle their
probabilities add up; triplets of one class with other relations or objects mostly imply each other. But the model
answers each triplet by itself, and what it errs adds up, too: over hundreds of triplets, small probabilities of what is
not there become large. And 1 - prod(1 - p) takes what is said of one box again and again for independent signs.
"""

from __future__ import annotations

import numpy as np


def union(probabilities: np.ndarray) -> np.ndarray:
    """The probability that something holds of at least one triplet.

    Args:
      probabilities: `[Q, ...]` in [0, 1], such as that each of N boxes has a role in each of Q triplets.

    Returns:
      `[...]`.

    Raises:
      ValueError: there is no triplet.
    """
    return np.max(probabilities, axis=0)


def answer_set(chosen: np.ndarray, probabilities: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The boxes that answer (the paper, section 5.2): those that have the role in some triplet, else the best one.

    Args:
      chosen: bool `[Q, N]`, whether the role is the most probable label of the box in the triplet.
      probabilities: `[N]`, what `union` returned.
      valid: bool `[N]`, which boxes count.

    Returns:
      bool `[N]`, empty only where no box counts.
    """
    result = chosen.any(axis=0) & valid
    if not result.any() and valid.any():
        result[np.argmax(np.where(valid, probabilities, -1.0))] = True
    return result
