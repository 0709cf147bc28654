"""A client of an exported model behind TF Serving or `export.serve`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dsg_tf.data.queries import Query
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.data.scene import Vocabulary
from dsg_tf.predict import answers, asked, graphs
from dsg_tf.process import error_sentences
from dsg_tf.words.aliases import Aliases, for_vocabulary
from dsg_tf.words.words import Words
from export import connection

# A prediction changes nothing, so it may be sent again; but only where the server did not take it: one that was too
# much, or too slow, would be so again.
_RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "tensorflow.serving.PredictionService"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


class RequestError(OSError):
    """The server's refusal.

    Attributes:
      code: name of the gRPC status code, such as "INVALID_ARGUMENT".
      message: what the server says.
    """

    def __init__(self, code: str, message: str):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """What the server made of an image, for any number of queries: tensors by name, with a batch of one."""

    tensors: Mapping[str, np.ndarray]


class DSGClient:
    """Asks a server about images.

    Args:
      server: "host:port" of its gRPC service.
      model: name of the model there.
      version, label: of the model; neither: the newest.
      timeout: seconds that a call may take, retries included; None: no limit.
      tls_roots: certificates (PEM) that sign the server's, b"" for those of this machine; None: no TLS, unless the
        client has a certificate of its own.
      tls_key, tls_certificate: the client's private key and certificate chain (PEM), where the server asks for them.
      token: goes with every call as `authorization: Bearer ...`; only with TLS, or to this machine.
      aliases: other words for the names of the model, beside those that come with the program.

    Raises:
      RequestError: from every method, when the server refuses or cannot be reached.
      ValueError: a timeout that is no time, a key without a certificate, a token that would be sent in clear.
    """

    def __init__(
        self,
        server: str,
        *,
        model: str = "dsg",
        version: int | None = None,
        label: str = "",
        timeout: float | None = 30.0,
        tls_roots: bytes | None = None,
        tls_key: bytes = b"",
        tls_certificate: bytes = b"",
        token: str = "",
        aliases: Aliases | None = None,
    ):
        if bool(tls_key) != bool(tls_certificate):
            raise ValueError("tls_key and tls_certificate go together")
        encrypted = tls_roots is not None or bool(tls_key)
        self._timeout = connection.time_limit(timeout, "timeout")
        self._metadata = connection.metadata(server, token, encrypted)
        options: list[tuple[str, str | int]] = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", json.dumps(_RETRIES)),
        ]
        if encrypted:
            credentials = grpc.ssl_channel_credentials(tls_roots or None, tls_key or None, tls_certificate or None)
            self._channel = grpc.secure_channel(server, credentials, options)
        else:
            if token:
                options.append(("grpc.enable_http_proxy", 0))  # Or it might leave this machine after all.
            self._channel = grpc.insecure_channel(server, options)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._model, self._version, self._label = model, version, label
        self._aliases = aliases
        self._words: Words | None = None

    def __enter__(self) -> DSGClient:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def ask(self, image: bytes | EncodedImage, queries: Sequence[str]) -> list[answers.Answer]:
        """Where the subject and the object of each query are.

        Three parts with commas between go to the server as they are; for anything else, and where the server does not
        know one of them, the words of the model are asked for, once, and the queries are read with them.

        Args:
          image: bytes of a JPEG, PNG or WebP file, or what `encode` returned.
          queries: each "subject, relation, object" or free text.

        Raises:
          ValueError: a query is not understood, or is not of three parts and the model was exported without its words.
        """
        parsed = [Query.parse(text) for text in queries]
        if not any(query.problem for query in parsed):
            try:
                return self._ask(image, [asked.Asked.exact(query) for query in parsed])
            except RequestError as error:
                if error.code != "INVALID_ARGUMENT" or ": unknown " not in error.message:
                    raise
                try:
                    questions = self._read(parsed)
                except ValueError:
                    raise error from None  # The server names the word, too.
        else:
            questions = self._read(parsed)
        return self._ask(image, questions)

    def _read(self, queries: Sequence[Query]) -> list[asked.Asked]:
        if self._words is None:
            try:
                vocabulary = self.words()
            except RequestError as error:
                if error.code != "FAILED_PRECONDITION":
                    raise
                raise ValueError(next((q.problem for q in queries if q.problem), error.message)) from error
            own = () if self._aliases is None else (self._aliases,)
            self._words = Words(vocabulary, (*own, *for_vocabulary(vocabulary)))
        return [asked.Asked.of_question(self._words.read(query), self._words.vocabulary) for query in queries]

    def _ask(self, image: bytes | EncodedImage, questions: Sequence[asked.Asked]) -> list[answers.Answer]:
        pieces = asked.pieces(questions) or [()]
        if len(pieces) > 1 and not isinstance(image, EncodedImage):
            image = self.encode(image)
        found = []
        for triplets in pieces:
            words = {
                part: np.array([[names[k] for names in triplets]], object).reshape(1, -1)
                for k, part in enumerate(QUERY_PARTS)
            }
            if isinstance(image, EncodedImage):
                outputs = self.call("answer", {**image.tensors, **words})
            else:
                outputs = self.call("refer", {"image": np.array([image], object), **words})
            found.append({name: value[0] for name, value in outputs.items()})
        return asked.read_all(questions, asked.joined(found))

    def encode(self, image: bytes) -> EncodedImage:
        """Lets the network look at an image once; `ask` it then as often as you like."""
        return EncodedImage(self.call("encode", {"image": np.array([image], object)}))

    def scene_graph(self, image: bytes) -> answers.LabelledGraph:
        """What is in the image, and how it stands to each other."""
        found = self.call("scene_graph", {"image": np.array([image], object)})
        return graphs.of_signature({name: value[0] for name, value in found.items()})

    def words(self) -> Vocabulary:
        """The names that queries may be made of.

        Raises:
          RequestError: FAILED_PRECONDITION where the model was exported by a version that did not put them into it.
        """
        found = {}
        for name in ("entities", "relations"):
            # One by one: the batching of TF Serving refuses a signature without inputs, and lets pass what asks for
            # other outputs than the signature's.
            try:
                values = self.call("words", {}, [name])[name]
            except RequestError as error:
                if error.code == "FAILED_PRECONDITION" and '"words" not found' in error.message:
                    message = "the model was exported without its words: export it again to ask for them"
                    raise RequestError(error.code, message) from error
                raise
            found[name] = tuple(value.decode() for value in values)
        return Vocabulary(**found)

    def call(
        self, signature: str, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs any signature: arrays by name in, arrays by name out; all of its outputs, or those named."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if self._label:
            request.model_spec.version_label = self._label
        elif self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(outputs)
        try:
            response = self._predict(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise RequestError(error.code().name, error_sentences.plain(error.details())) from error
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
