"""Questions about a picture in free text, over REST: `POST /v1/models/<name>:ask`, which TF Serving does not have.

The words of the model are read here, what they ask for is a request as any other, or several of them: about the
picture, or, where the triplets are many, about what the network made of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2

from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.predict import asked
from export.serving import model_info, rest_json
from export.serving.limits import Deadline
from export.serving.memory import Place
from export.serving.predictor import Predictor
from export.serving.request_log import Entry
from export.serving.servable import Servable
from export.serving.status import Status
from export.serving.words import Words

_KEYS = ("image", "queries")
_COST = 2**12  # Of reading a question, or of an answer, about, in bytes of a request.


@dataclasses.dataclass(frozen=True)
class Questions:
    """The body of a request.

    Attributes:
      image: bytes of a JPEG, PNG or WebP file.
      texts: what is asked about it.
    """

    image: bytes
    texts: tuple[str, ...]

    @classmethod
    def of_json(cls, value: dict[str, Any]) -> Questions:
        """From `{"image": {"b64": ...}, "queries": [text, ...]}`.

        Raises:
          Status: INVALID_ARGUMENT: a key is missing, unknown, or of another form; names it.
        """
        if set(value) != set(_KEYS):
            found = ", ".join(map(str, sorted(value)))[:100]
            raise Status("INVALID_ARGUMENT", f"the keys must be {' and '.join(_KEYS)}, not {found or 'none'}")
        texts = value["queries"]
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Status("INVALID_ARGUMENT", "'queries' must be a list of texts, at least one")
        return cls(rest_json.bytes_of("image", value["image"]), tuple(texts))


async def ask(
    predictor: Predictor, servable: Servable, questions: Questions, entry: Entry, place: Place, deadline: Deadline
) -> bytes:
    """The answers as JSON, `{"answers": [...]}`, each with the keys that `eval.py --image` prints.

    Args:
      predictor: what answers requests.
      servable: the version of the model that is asked.
      questions: about one picture.
      entry, place, deadline: of the request, which is `admitted`.

    Raises:
      Status: INVALID_ARGUMENT: a question is not understood. RESOURCE_EXHAUSTED: they stand for too many triplets.
        UNIMPLEMENTED: the model was exported without its words. Others: as of `Predictor.predict`.
    """
    entry.what, count = "ask", len(questions.texts)
    predictor.limits.check(1, count)
    read = await predictor.read(_read, model_info.words_of(servable), questions.texts, size=_COST * count)
    pieces = asked.pieces(read)
    triplets = sum(map(len, pieces))
    predictor.limits.check(1, triplets)
    entry.details = f"{count} questions, {triplets} triplets, version {servable.version}"
    spec = model_pb2.ModelSpec(name=predictor.versions.name)
    spec.version.value = servable.version  # One for all requests, whatever is loaded meanwhile.

    async def outputs(signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest(model_spec=spec)
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
        part, copies = Entry(entry.interface, entry.peer), max(rest_json.COPIES, len(pieces))
        _, found = await predictor.predict(request, request.ByteSize(), part, place, deadline, copies)
        entry.queue_seconds += part.queue_seconds
        entry.run_seconds += part.run_seconds
        return found

    state = {"image": np.array([questions.image], object)}
    if len(pieces) > 1:
        state = await outputs("encode", state)
    signature = "answer" if len(pieces) > 1 else "refer"
    parts = [await outputs(signature, {**state, **_words(piece)}) for piece in pieces]
    return await predictor.read(_answers, read, parts, size=_COST * triplets)


def _read(words: Words, texts: Sequence[str]) -> list[asked.Asked]:
    return [words.read(text) for text in texts]


def _answers(questions: Sequence[asked.Asked], parts: Sequence[dict[str, np.ndarray]]) -> bytes:
    found = asked.joined([{name: array[0] for name, array in part.items()} for part in parts])
    return orjson.dumps({"answers": [answer.as_dict() for answer in asked.read_all(questions, found)]})


def _words(triplets: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """The inputs of a signature for one image."""
    columns = np.array(triplets, object).T[:, np.newaxis]
    return dict(zip(QUERY_PARTS, columns))
