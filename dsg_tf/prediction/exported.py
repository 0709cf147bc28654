"""An exported model, asked about batches of images; what is wrong with one image or query stays with it."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsg_tf.answers import best_first, rounded
from dsg_tf.prediction.requests import Query, Request

ROLES = ("subject", "object")
QUERIES_AT_ONCE = 64  # of one image; with pairs of boxes, a query takes megabytes.
_PADDING = Query("", ("", "", ""))


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why an image or a query has no answer; `kind` is "missing_image", "bad_image" or "bad_query"."""

    kind: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        return {"error": dataclasses.asdict(self)}


def newest_version(path: str) -> str:
    """`path`, or its sub-directory with the largest number where it holds versions as TF Serving takes them.

    Raises:
      FileNotFoundError: there is no exported model.
    """
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        return path
    names = os.listdir(path) if os.path.isdir(path) else []
    versions = [name for name in names if name.isdigit() and os.path.exists(os.path.join(path, name, "saved_model.pb"))]
    if not versions:
        raise FileNotFoundError(f"--saved_model={path} has no saved_model.pb, nor versions 1/, 2/ ... with one: write "
                                "it with python -m export.export_saved_model")
    return os.path.join(path, max(versions, key=int))


class ExportedModel:
    """The signatures `encode` and `answer` of a directory that `export_saved_model` wrote."""

    def __init__(self, path: str):
        """Raises ValueError where the directory holds something else."""
        self._model = tf.saved_model.load(path)  # Kept: the signatures alone do not hold the weights.
        missing = {"encode", "answer"}.difference(self._model.signatures)
        if missing:
            raise ValueError(f"--saved_model={path} has no signature {' and '.join(sorted(missing))}, only "
                             f"{', '.join(sorted(self._model.signatures)) or 'none'}")
        self._encode, self._answer = self._model.signatures["encode"], self._model.signatures["answer"]

    def lines(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What is known about each of a batch of images, for JSON.

        Returns:
          `{"image": id, "answers": [...]}` with an answer per query, in order; or `{"image": id, "error": {"kind",
          "message"}}`. An answer is `{"query": its text}` and for each role, as `subject`: `subject_box` (the most
          probable one), `subject_score` (its probability), `subject_boxes` (the answer set) and `subject_scores` (of
          the set, which then is in falling order; TWO STEP gives none); or the query and an `"error"`. Boxes are
          `[y0, x0, y1, x1]` in pixels of the original image.
        """
        found = iter(_each(self._encode_images, [r.image for r in requests if r.image is not None], "bad_image"))
        states = [Failure("missing_image", r.missing) if r.image is None else next(found) for r in requests]
        asked = [[query for query in r.queries if query.is_whole] for r in requests]
        whole = [(state, queries) for state, queries in zip(states, asked) if not isinstance(state, Failure)]
        answers = iter(_each(self._answer_images, whole, "bad_query"))
        return [{"image": request.image_id, **(state.as_dict() if isinstance(state, Failure) else
                                               {"answers": self._in_order(request, state, queries, next(answers))})}
                for request, state, queries in zip(requests, states, asked)]

    def _in_order(self, request, state, queries, answers) -> list[dict[str, Any]]:
        """The answers with the queries' texts, those without an answer among them."""
        if isinstance(answers, Failure):  # Of some query of this image: each is asked alone to find out which.
            answers = _each(lambda some: self._answer_images([(state, some)])[0], queries, "bad_query")
        answers, result = iter(answers), []
        for query in request.queries:
            answer = next(answers) if query.is_whole else Failure(
                "bad_query", 'a query is "subject, relation, object", three parts with commas between them; this one '
                f"has {sum(map(bool, query.parts))}")
            result.append({"query": query.text, **(answer.as_dict() if isinstance(answer, Failure) else answer)})
        return result

    def _encode_images(self, images: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """What `answer` needs of each image."""
        found = {name: value.numpy() for name, value in self._encode(image=tf.constant(images)).items()}
        return [{name: value[i] for name, value in found.items()} for i in range(len(images))]

    def _answer_images(self, asked: Sequence[tuple[dict[str, np.ndarray], list[Query]]]) -> list[list[dict[str, Any]]]:
        """The answers to the queries about each image; all are asked together, those with fewer queries padded."""
        state = {name: tf.constant(np.stack([state[name] for state, _ in asked])) for name in asked[0][0]}
        result = [[] for _ in asked]
        for first in range(0, max(len(queries) for _, queries in asked), QUERIES_AT_ONCE):
            some = [queries[first:first + QUERIES_AT_ONCE] for _, queries in asked]
            longest = max(map(len, some))
            padded = [queries + [_PADDING] * (longest - len(queries)) for queries in some]
            words = {part: tf.constant([[q.parts[k].encode("utf-8", "replace") for q in queries] for queries in padded])
                     for k, part in enumerate(("subject", "relation", "object"))}
            found = self._answer(**state, **words)
            found = {name: value.numpy() for name, value in found.items()}
            for i, queries in enumerate(some):
                result[i] += [_answer({name: value[i] if name in ("boxes", "valid") else value[i, q]
                                       for name, value in found.items()}) for q in range(len(queries))]
        return result


def _answer(found: dict[str, np.ndarray]) -> dict[str, Any]:
    """One query's outputs, rounded: 0.01 pixels, 0.00001 of probability."""
    result = {}
    for k, role in enumerate(ROLES, start=1):
        result |= {f"{role}_box": rounded(found[f"{role}_box"], 2), f"{role}_score": rounded(found[f"{role}_score"], 5)}
        chosen = found[f"{role}_mask"]
        if "role_probabilities" in found:
            boxes, scores = best_first(found["boxes"], found["role_probabilities"][:, k], chosen)
            result |= {f"{role}_boxes": rounded(boxes, 2), f"{role}_scores": rounded(scores, 5)}
        else:
            result[f"{role}_boxes"] = rounded(found["boxes"][chosen], 2)
    return result


def _each(function: Callable[[Sequence], list], items: Sequence, kind: str) -> list:
    """`function(items)`, a result for each; where it fails because of some items, those have a `Failure` each.

    Halves are tried on their own, so that one bad item among many costs few calls.
    """
    if not items:
        return []
    try:
        return function(items)
    except tf.errors.InvalidArgumentError as error:
        sentence = _sentence(error)
        if sentence is None:  # Not the data's fault.
            raise
        if len(items) == 1:
            return [Failure(kind, sentence)]
    middle = len(items) // 2
    return _each(function, items[:middle], kind) + _each(function, items[middle:], kind)


def _sentence(error: tf.errors.InvalidArgumentError) -> str | None:
    """What the model says about an image or a query, without its place in the batch; None if it says something else."""
    found = re.search(r"assertion failed: \[(?:image \d+ of the batch|query \d+ of image \d+)(?: |: )(.*?)\]\n",
                      error.message, re.DOTALL)
    return found.group(1) if found else None
