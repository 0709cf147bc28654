"""What can be asked of a model, whatever it was loaded from; what is wrong with one image or query stays with it."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from dsg_tf.data.queries import Query
from dsg_tf.predict import answers, asked
from dsg_tf.words.refusals import NotUnderstood
from dsg_tf.words.words import Words

if TYPE_CHECKING:
    from dsg_tf.predict.requests import Request  # Which imports TensorFlow.

RELATIONS = 20  # Of a scene graph, unless somebody asks for another number.
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Refused(ValueError):
    """What a model says against an image or a query, in a sentence."""


@dataclasses.dataclass(frozen=True)
class Failure:
    """Why an image or a query has no answer; `kind` is "missing_image", "bad_image" or "bad_query"."""

    kind: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        return {"error": dataclasses.asdict(self)}


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image that the network has seen: it can be asked about as often as one likes.

    Attributes:
      image: the encoded file.
      state: what the model needs to answer, by name, without the batch axis.
    """

    image: bytes = dataclasses.field(repr=False)
    state: Mapping[str, Any] = dataclasses.field(repr=False)


class ImageModel(abc.ABC):
    """A model that takes encoded images and questions in words.

    Attributes:
      words: what it understands; None of an export that does not tell.
    """

    words: Words | None

    @abc.abstractmethod
    def encode(self, images: Sequence[bytes]) -> list[EncodedImage]:
        """Lets the network look at one or more JPEG, PNG or WebP files, all at once.

        Raises:
          Refused: one of them is no image; if it is the only one, the sentence tells why.
        """

    @abc.abstractmethod
    def ask(
        self, images: Sequence[EncodedImage], questions: Sequence[Sequence[asked.Asked]]
    ) -> list[list[answers.Answer]]:
        """The answers to the questions about each image.

        Raises:
          Refused: one of the questions has a word that the model does not know.
        """

    @abc.abstractmethod
    def scene_graph(self, image: EncodedImage, relations: int = RELATIONS) -> answers.LabelledGraph:
        """What is in an image, and the most probable relations, `relations` at most.

        Raises:
          ValueError: the system has no label heads.
        """

    def read(self, query: str | Query) -> asked.Asked:
        """What a query asks for; without a vocabulary its three parts, which the model compares with its names.

        Raises:
          ValueError: it is not understood; tells which part, and what is near to it.
        """
        if self.words is not None:
            return asked.Asked.of_question(self.words.read(query), self.words.vocabulary)
        query = query if isinstance(query, Query) else Query.parse(query)
        if query.problem:
            raise NotUnderstood(query.text, query.problem)
        return asked.Asked.exact(query)

    def answer(self, encoded: bytes, queries: Sequence[str]) -> list[answers.Answer]:
        """Answers queries, "subject, relation, object" or free text, about one JPEG, PNG or WebP image.

        Raises:
          ValueError: a query is not understood, or the bytes are no image.
        """
        questions = [self.read(query) for query in queries]
        return self.ask(self.encode([encoded]), [questions])[0]

    def lines(self, requests: Sequence[Request]) -> list[dict[str, Any]]:
        """What is known about each of a batch of images, for JSON.

        Returns:
          `{"image": id, "answers": [...]}` with an answer per query, in order; or `{"image": id, "error": {"kind",
          "message"}}`. An answer is `Answer.as_dict()`, or `{"query": its text, "error": ...}`.
        """
        images = [request.image for request in requests if request.image is not None]
        encoded = iter(_each(self.encode, images, "bad_image"))
        lines: list[dict[str, Any]] = []
        seen: list[_Asked] = []
        read = [[self._read_or_not(query) for query in request.queries] for request in requests]
        for request, questions in zip(requests, read):
            image = Failure("missing_image", request.missing) if request.image is None else next(encoded)
            line: dict[str, Any] = {"image": request.image_id}
            if isinstance(image, Failure):
                line |= image.as_dict()
            else:
                seen.append(_Asked(image, [some for some in questions if isinstance(some, asked.Asked)]))
            lines.append(line)
        answered = zip(seen, _each(self._ask, seen, "bad_query"))
        for request, questions, line in zip(requests, read, lines):
            if "error" not in line:
                line["answers"] = self._in_order(request, questions, *next(answered))
        return lines

    def _ask(self, seen: Sequence[_Asked]) -> list[list[answers.Answer]]:
        return self.ask([some.image for some in seen], [some.questions for some in seen])

    def _read_or_not(self, query: Query) -> asked.Asked | Failure:
        try:
            return self.read(query)
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
            whole = _each(lambda some: self.ask([seen.image], [some])[0], seen.questions, "bad_query")
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


@dataclasses.dataclass(frozen=True)
class _Asked:
    """An image, and the questions about it."""

    image: EncodedImage
    questions: Sequence[asked.Asked]


def in_batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """The items in lists of `size`; the last may have fewer."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


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
    except Refused as error:
        if len(items) == 1:
            return [Failure(kind, str(error))]
    middle = len(items) // 2
    return [*_each(function, items[:middle], kind), *_each(function, items[middle:], kind)]
