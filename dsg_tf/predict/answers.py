"""What the program tells about an image, as data: answers to queries and scene graphs, in one form for all programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsg_tf.data.roles import LABEL_OF, ROLES

BOX_DIGITS, SCORE_DIGITS = 2, 5  # Of coordinates (pixels) and of probabilities in JSON.
FOUND = 0.5  # `answer_probability` from which on what was asked for counts as there.


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to one query; boxes are `[y0, x0, y1, x1]` in pixels of the original image.

    Attributes:
      query: as it was asked.
      subject_box, subject_score: the most probable box `[4]` and its probability.
      subject_boxes, subject_scores: the paper's answer set (section 5.2), `[K, 4]` and `[K]`, best first.
      object_box, object_score, object_boxes, object_scores: the same of the object.
      answer_probability: that what was asked for is in the image at all; None of a model that was exported without it.
      understood: what the query was taken for; "" where that is not known.
    """

    query: str
    subject_box: np.ndarray
    subject_score: float
    subject_boxes: np.ndarray
    subject_scores: np.ndarray
    object_box: np.ndarray
    object_score: float
    object_boxes: np.ndarray
    object_scores: np.ndarray
    answer_probability: float | None = None
    understood: str = ""

    def not_found(self, threshold: float = FOUND) -> str:
        """A note, with the probability, where that is below `threshold`; else ""."""
        if self.answer_probability is None or self.answer_probability >= threshold:
            return ""
        return f"not found ({self.answer_probability:.2f})"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: `eval.py --image`, the client and `dsg_tf.predict` write the same; numbers are rounded."""
        probability = self.answer_probability
        result: dict[str, Any] = {
            "query": self.query,
            **({"understood": self.understood} if self.understood else {}),
            "answer_probability": None if probability is None else rounded(probability, SCORE_DIGITS),
        }
        for role in ROLES:
            for kind, digits in (
                ("box", BOX_DIGITS),
                ("score", SCORE_DIGITS),
                ("boxes", BOX_DIGITS),
                ("scores", SCORE_DIGITS),
            ):
                result[f"{role}_{kind}"] = rounded(getattr(self, f"{role}_{kind}"), digits)
        return result


def read(query: str, outputs: Mapping[str, np.ndarray], row: int) -> Answer:
    """The answer to one of the queries about one image.

    Args:
      query: its text.
      outputs: of the model or of the signatures `refer` and `answer`, without the batch axis: `boxes` `[N, 4]` in
        pixels of the original image, for each role `<role>_mask` bool `[Q, N]` and `<role>_scores` `[Q, N]`, and, but
        for models that were exported without it, `answer_probability` `[Q]`.
      row: the query's number.
    """
    parts: dict[str, Any] = {}
    for role in ROLES:
        chosen, of_boxes = outputs[f"{role}_mask"][row], scores(outputs, role)[row]
        best = int(np.argmax(of_boxes))
        order = np.flatnonzero(chosen)
        order = order[np.argsort(-of_boxes[order], kind="stable")]
        parts |= {
            f"{role}_box": outputs["boxes"][best],
            f"{role}_score": float(of_boxes[best]),
            f"{role}_boxes": outputs["boxes"][order],
            f"{role}_scores": of_boxes[order],
        }
    if "answer_probability" in outputs:
        parts["answer_probability"] = float(outputs["answer_probability"][row])
    return Answer(query, **parts)


def scores(outputs: Mapping[str, np.ndarray], role: str) -> np.ndarray:
    """Probabilities of a role, `[Q, N]`.

    Models that were exported by version 0.1 have them among the probabilities, or of the best box only.
    """
    if f"{role}_scores" in outputs:
        return outputs[f"{role}_scores"]
    if "role_probabilities" in outputs:
        return np.where(outputs["valid"], outputs["role_probabilities"][..., LABEL_OF[role]], 0.0)
    return outputs[f"{role}_score"][:, np.newaxis] * outputs[f"{role}_mask"]


@dataclasses.dataclass(frozen=True)
class LabelledGraph:
    """A scene graph in words.

    Attributes:
      boxes: `[n, 4]`, original pixels; entities, entity_scores: the class of each and its probability.
      relations: (subject's box, relation, object's box), most probable first; relation_scores: probability of each
        triplet.
    """

    boxes: np.ndarray
    entities: Sequence[str]
    entity_scores: np.ndarray
    relations: Sequence[tuple[int, str, int]]
    relation_scores: np.ndarray

    def as_dict(self) -> dict[str, Any]:
        """For JSON; coordinates and scores are rounded."""
        boxes, scores = rounded(self.boxes, BOX_DIGITS), rounded(self.entity_scores, SCORE_DIGITS)
        return {
            "entities": [
                {"box": box, "entity": name, "score": score} for box, name, score in zip(boxes, self.entities, scores)
            ],
            "relations": [
                {"subject": int(i), "relation": name, "object": int(j), "score": score}
                for (i, name, j), score in zip(self.relations, rounded(self.relation_scores, SCORE_DIGITS))
            ],
        }


def rounded(values, digits: int):
    """Numbers, or nested lists of numbers, for JSON."""
    return np.round(np.asarray(values, float), digits).tolist()
