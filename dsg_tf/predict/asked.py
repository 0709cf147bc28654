"""A question as models take it, a number of triplets in words, and its answer put together from theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from dsg_tf.data.queries import Query
from dsg_tf.data.roles import LABEL_OF, ROLES
from dsg_tf.data.scene import Vocabulary, plain
from dsg_tf.predict import answers
from dsg_tf.words import combine
from dsg_tf.words.words import Question

AT_ONCE = 64  # Triplets about one image in one call; with pairs of boxes, a triplet takes megabytes.
OF_BOXES = ("boxes", "valid")  # Outputs that have no row for each triplet.


@dataclasses.dataclass(frozen=True)
class Asked:
    """A question.

    Attributes:
      text: as the user wrote it.
      triplets: what it stands for, names (subject, relation, object).
      understood: the same for people.
    """

    text: str
    triplets: tuple[tuple[str, ...], ...]
    understood: str

    @classmethod
    def exact(cls, query: Query) -> Asked:
        """A query of three parts that nobody has compared with a vocabulary."""
        return cls(query.text, (query.parts,), "; ".join(map(plain, query.parts)))

    @classmethod
    def of_question(cls, question: Question, vocabulary: Vocabulary) -> Asked:
        """What was read from a text."""
        entities, relations = vocabulary.entities, vocabulary.relations
        triplets = tuple((entities[s], relations[r], entities[o]) for s, r, o in question.triplets)
        return cls(question.text, triplets, question.understood)

    def answer(self, outputs: Mapping[str, np.ndarray], first: int = 0) -> answers.Answer:
        """The answer; of a single triplet what the model says of it.

        Args:
          outputs: as of `answers.read`, with a row for each triplet from `first` on.
          first: the row of the first triplet.
        """
        answer = answers.read(self.text, outputs, first)
        if len(self.triplets) > 1:
            answer = answers.read(self.text, self._together(outputs, slice(first, first + len(self.triplets))), 0)
        return dataclasses.replace(answer, understood=self.understood)

    def _together(self, outputs: Mapping[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
        """Outputs with one row: of one question that stands for all the triplets."""
        boxes = outputs["boxes"]
        result = {"boxes": boxes}
        valid = outputs["valid"] if "valid" in outputs else np.ones(len(boxes), bool)
        if "answer_probability" in outputs:
            result["answer_probability"] = combine.union(outputs["answer_probability"][rows])[np.newaxis]
        for role in ROLES:
            scores = combine.union(answers.scores(outputs, role)[rows])
            chosen = _chosen(outputs, role, rows)
            result[f"{role}_scores"] = scores[np.newaxis]
            result[f"{role}_mask"] = combine.answer_set(chosen, scores, valid)[np.newaxis]
        return result


def _chosen(outputs: Mapping[str, np.ndarray], role: str, rows: slice) -> np.ndarray:
    """bool `[Q, N]`: boxes whose most probable label is the role.

    A mask has the best box where there is none such. TWO STEP models, which have no labels, say nothing else: there the
    masks of the triplets count that are in the image, or of the most probable one.
    """
    if "role_probabilities" in outputs:
        return np.argmax(outputs["role_probabilities"][rows], axis=-1) == LABEL_OF[role]
    mask, sure = outputs[f"{role}_mask"][rows], answers.scores(outputs, role)[rows].max(axis=-1)
    return mask & (sure >= min(answers.FOUND, sure.max()))[:, np.newaxis]


def pieces(questions: Sequence[Asked], at_once: int | None = None) -> list[tuple[tuple[str, ...], ...]]:
    """The triplets of all questions, one after another, in pieces of at most `at_once`; None: `AT_ONCE`."""
    triplets = [triplet for question in questions for triplet in question.triplets]
    size = at_once or AT_ONCE
    return [tuple(triplets[start : start + size]) for start in range(0, len(triplets), size)]


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs about one image, of several calls, as of one with all rows."""
    if len(parts) == 1:
        return dict(parts[0])
    return {
        name: value if name in OF_BOXES else np.concatenate([part[name] for part in parts])
        for name, value in parts[0].items()
    }


def read_all(questions: Sequence[Asked], outputs: Mapping[str, np.ndarray]) -> list[answers.Answer]:
    """The answers to all questions, whose triplets have the rows of `outputs` in order."""
    found, first = [], 0
    for question in questions:
        found.append(question.answer(outputs, first))
        first += len(question.triplets)
    return found
