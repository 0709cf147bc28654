"""An exported model, asked about batches of images; what is wrong with one image or query stays with it."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from dsg_tf.data.queries import Query
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers, asked
from dsg_tf.predict.requests import Request
from dsg_tf.process import error_sentences, files
from dsg_tf.words import aliases
from dsg_tf.words.refusals import NotUnderstood
from dsg_tf.words.words import Words

_PADDING = ("", "", "")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why an image or a query has no answer; `kind` is "missing_image", "bad_image" or "bad_query"."""

    kind: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        return {"error": dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What `encode` told about an image, and the questions that `answer` is to be asked about it."""

    state: dict[str, np.ndarray]
    questions: Sequence[asked.Asked]


def newest_version(path: str) -> str:
    """`path`, or its sub-directory with the largest number where it holds versions as TF Serving takes them.

    Raises:
      FileNotFoundError: there is no exported model.
    """
    if os.path.exists(os.path.join(path, "saved_model.pb")):
        return path
    names = os.listdir(path) if os.path.isdir(path) else []
    versions = [
        name for name in names if files.is_version(name) and os.path.exists(os.path.join(path, name, "saved_model.pb"))
    ]
    if not versions:
        raise FileNotFoundError(
            f"--saved_model={path} has no saved_model.pb, nor versions 1/, 2/ ... with one: write "
            "it with python -m export.export_saved_model"
        )
    return os.path.join(path, max(versions, key=int))


class ExportedModel:
    """The signatures `encode` and `answer` of a directory that `export_saved_model` wrote."""

    def __init__(self, path: str):
        """Raises ValueError where the directory holds something else."""
        self._model = tf.saved_model.load(path)  # Kept: the signatures alone do not hold the weights.
        missing = {"encode", "answer"}.difference(self._model.signatures)
        if missing:
            raise ValueError(
                f"--saved_model={path} has no signature {' and '.join(sorted(missing))}, only "
                f"{', '.join(sorted(self._model.signatures)) or 'none'}"
            )
        self._encode, self._answer = self._model.signatures["encode"], self._model.signatures["answer"]
        self._words = _words(path)

    def lines(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What is known about each of a batch of images, for JSON.

        Returns:
          `{"image": id, "answers": [...]}` with an answer per query, in order; or `{"image": id, "error": {"kind",
          "message"}}`. An answer is `Answer.as_dict()`, or `{"query": its text, "error": ...}`.
        """
        images = [request.image for request in requests if request.image is not None]
        states = iter(_each(self._encode_images, images, "bad_image"))
        lines: list[dict[str, Any]] = []
        seen: list[_Asked] = []
        read = [[self._read(query) for query in request.queries] for request in requests]
        for request, questions in zip(requests, read):
            state = Failure("missing_image", request.missing) if request.image is None else next(states)
            line: dict[str, Any] = {"image": request.image_id}
            if isinstance(state, Failure):
                line |= state.as_dict()
            else:
                seen.append(_Asked(state, [some for some in questions if isinstance(some, asked.Asked)]))
            lines.append(line)
        answered = zip(seen, _each(self._answer_images, seen, "bad_query"))
        for request, questions, line in zip(requests, read, lines):
            if "error" not in line:
                line["answers"] = self._in_order(request, questions, *next(answered))
        return lines

    def _read(self, query: Query) -> asked.Asked | Failure:
        """What a query asks for; without a vocabulary its three parts, which the model compares with its names."""
        if self._words is None:
            return Failure("bad_query", query.problem) if query.problem else asked.Asked.exact(query)
        try:
            return asked.Asked.of_question(self._words.read(query), self._words.vocabulary)
        except NotUnderstood as error:
            return Failure("bad_query", str(error))

    def _in_order(
        self,
        request: Request,
        questions: Sequence[asked.Asked | Failure],
        seen: _Asked,
        answered: list[answers.Answer] | Failure,
    ) -> list[dict[str, Any]]:
        """The answers, with what is wrong with the other queries among them."""
        whole: Sequence[answers.Answer | Failure]
        if isinstance(answered, Failure):  # Of some query of this image: each is asked alone to find out which.
            whole = _each(lambda some: self._answer_images([_Asked(seen.state, some)])[0], seen.questions, "bad_query")
        else:
            whole = answered
        remaining, result = iter(whole), []
        for query, question in zip(request.queries, questions):
            answer = question if isinstance(question, Failure) else next(remaining)
            if isinstance(answer, Failure):
                result.append({"query": query.text, **answer.as_dict()})
            else:
                result.append(answer.as_dict())
        return result

    def _encode_images(self, images: Sequence[bytes]) -> list[dict[str, np.ndarray]]:
        """What `answer` needs of each image."""
        found = {name: value.numpy() for name, value in self._encode(image=tf.constant(images)).items()}
        return [{name: value[i] for name, value in found.items()} for i in range(len(images))]

    def _answer_images(self, seen: Sequence[_Asked]) -> list[list[answers.Answer]]:
        """The answers to the questions about each image; all are asked together, those with fewer triplets padded."""
        state = {name: tf.constant(np.stack([image.state[name] for image in seen])) for name in seen[0].state}
        pieces = [asked.pieces(image.questions) for image in seen]
        found: list[list[dict[str, np.ndarray]]] = [[] for _ in seen]
        for number in range(max(map(len, pieces))):
            some = [of_image[number] if number < len(of_image) else () for of_image in pieces]
            longest = max(map(len, some))
            padded = [[*triplets, *[_PADDING] * (longest - len(triplets))] for triplets in some]
            words = {
                part: tf.constant([[names[k].encode("utf-8", "replace") for names in triplets] for triplets in padded])
                for k, part in enumerate(QUERY_PARTS)
            }
            outputs = {name: value.numpy() for name, value in self._answer(**state, **words).items()}
            for i, triplets in enumerate(some):
                if triplets:
                    found[i].append(_of_image(outputs, i, len(triplets)))
        return [
            asked.read_all(image.questions, asked.joined(outputs)) if outputs else []
            for image, outputs in zip(seen, found)
        ]


def _of_image(outputs: dict[str, np.ndarray], image: int, count: int) -> dict[str, np.ndarray]:
    """The rows of an image of the batch, without padding."""
    return {name: value[image] if name in asked.OF_BOXES else value[image, :count] for name, value in outputs.items()}


def _words(path: str) -> Words | None:
    """The words of an exported model; None of one that does not have them."""
    file = os.path.join(path, "assets", "vocabulary.json")
    if not os.path.exists(file):
        return None
    with open(file, encoding="utf-8") as opened:
        vocabulary = Vocabulary(**{name: tuple(names) for name, names in json.load(opened).items()})
    return Words(vocabulary, aliases.for_vocabulary(vocabulary, os.path.join(path, "assets.extra")))


def _each(
    function: Callable[[Sequence[_Item]], Sequence[_Result]], items: Sequence[_Item], kind: str
) -> Sequence[_Result | Failure]:
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
    return [*_each(function, items[:middle], kind), *_each(function, items[middle:], kind)]


def _sentence(error: tf.errors.InvalidArgumentError) -> str | None:
    """What the model says about an image or a query, without its place in the batch; None if it says something else."""
    found = re.fullmatch(
        r"(?:image \d+ of the batch|query \d+ of image \d+)(?: |: )(.*)", error_sentences.sentence(error), re.DOTALL
    )
    return found.group(1) if found else None
