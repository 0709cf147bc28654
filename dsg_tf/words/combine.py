"""The answers to several triplets as the answer to the one question that stands for them.

A box has one class. That it is the subject in triplets of different subject classes are therefore events that exclude
each other, whose probabilities add up; within one subject class the triplets are about the same box with other
relations or objects, and the events may be nearly one: there the largest probability counts, which is what the union
has at least, and what it has where the others imply it. So for each box

    P(subject) = min(1, sum over subject classes c of max over triplets t with subject c of P_t(subject))

and the same for objects with the classes of objects. Products, 1 - prod(1 - p), would count what is said of one box
several times as independent signs, and hundreds of small probabilities would make a large one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def union(classes: Sequence, probabilities: np.ndarray) -> np.ndarray:
    """Of each box the probability that it has the role in at least one of some triplets.

    Args:
      classes: of each of the Q triplets the class that it wants for the role; numbers or names.
      probabilities: `[Q, N]` in [0, 1], of the role.

    Returns:
      `[N]`, not below the largest of the box and not above 1; of one triplet its own.
    """
    probabilities = np.asarray(probabilities)
    if len(classes) != len(probabilities) or not len(classes):
        raise ValueError(f"{len(classes)} classes and probabilities of {len(probabilities)} triplets")
    _, of_class = np.unique(np.asarray(classes), return_inverse=True)
    largest = np.zeros([of_class.max() + 1, probabilities.shape[1]], probabilities.dtype)
    np.maximum.at(largest, of_class.reshape(-1), probabilities)
    # In float64 and in the order of size, so that the order of the triplets does not show in the last digit.
    return np.minimum(np.sort(largest, axis=0).sum(axis=0, dtype=np.float64), 1.0).astype(probabilities.dtype)


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
