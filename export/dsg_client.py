"""A client of an exported model behind TF Serving or `export.serve`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from dsg_tf.data import queries as query_lib
from dsg_tf.data.roles import QUERY_PARTS
from dsg_tf.predict import answers
from dsg_tf.process import error_sentences

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
      timeout: seconds that a call may take, retries included.
      tls_roots: certificates (PEM) that sign the server's, b"" for those of this machine; None: no TLS.

    Raises:
      RequestError: from every method, when the server refuses or cannot be reached.
    """

    def __init__(
        self,
        server: str,
        *,
        model: str = "dsg",
        version: int | None = None,
        label: str = "",
        timeout: float = 30.0,
        tls_roots: bytes | None = None,
    ):
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", json.dumps(_RETRIES)),
        ]
        self._channel = (
            grpc.insecure_channel(server, options)
            if tls_roots is None
            else grpc.secure_channel(server, grpc.ssl_channel_credentials(tls_roots or None), options)
        )
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict
        self._model, self._version, self._label, self._timeout = model, version, label, timeout

    def __enter__(self) -> DSGClient:
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def ask(self, image: bytes | EncodedImage, queries: Sequence[str]) -> list[answers.Answer]:
        """Where the subject and the object of each query are.

        Args:
          image: bytes of a JPEG, PNG or WebP file, or what `encode` returned.
          queries: each "subject, relation, object".

        Raises:
          ValueError: a query does not have three parts.
        """
        parsed = query_lib.parse_all(queries)
        words = {
            part: np.array([[query.parts[k] for query in parsed]], object).reshape(1, -1)
            for k, part in enumerate(QUERY_PARTS)
        }
        if isinstance(image, EncodedImage):
            found = self.call("answer", {**image.tensors, **words})
        else:
            found = self.call("refer", {"image": np.array([image], object), **words})
        of_image = {name: value[0] for name, value in found.items()}
        return [answers.read(query, of_image, row) for row, query in enumerate(queries)]

    def encode(self, image: bytes) -> EncodedImage:
        """Lets the network look at an image once; `ask` it then as often as you like."""
        return EncodedImage(self.call("encode", {"image": np.array([image], object)}))

    def scene_graph(self, image: bytes) -> answers.LabelledGraph:
        """What is in the image, and how it stands to each other."""
        found = self.call("scene_graph", {"image": np.array([image], object)})
        found = {name: value[0] for name, value in found.items()}
        valid = np.flatnonzero(found["valid"])
        number = {int(box): k for k, box in enumerate(valid)}
        kept = [k for k, score in enumerate(found["relation_score"]) if score > 0]  # Fewer pairs than K leave zeros.
        relations = [
            (number[found["relation_subject"][k]], found["relation"][k].decode(), number[found["relation_object"][k]])
            for k in kept
        ]
        return answers.LabelledGraph(
            found["boxes"][valid],
            [name.decode() for name in found["entity"][valid]],
            found["entity_score"][valid],
            relations,
            found["relation_score"][kept],
        )

    def call(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs any signature: arrays by name in, arrays by name out."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self._model, signature
        if self._label:
            request.model_spec.version_label = self._label
        elif self._version is not None:
            request.model_spec.version.value = self._version
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        try:
            response = self._predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise RequestError(error.code().name, error_sentences.plain(error.details())) from error
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
