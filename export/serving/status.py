"""Errors with the canonical codes that gRPC, TF Serving and its REST interface share."""

from __future__ import annotations

import grpc
import tensorflow as tf

from dsg_tf.process import error_sentences

# tensorflow_serving/model_servers/http_server.cc maps codes to HTTP like this; all others are 500.
HTTP = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
}
_NUMBERS = {code.value[0]: code for code in grpc.StatusCode}


class Status(Exception):
    """Why a request is not answered.

    Args:
      code: a name of `grpc.StatusCode`, such as "INVALID_ARGUMENT".
      message: for the client.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def grpc_code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self.code]

    @property
    def http_code(self) -> int:
        return HTTP.get(self.code, 500)

    @classmethod
    def of_tensorflow(cls, error: tf.errors.OpError) -> Status:
        """The code as it is; of a failed check inside the graph the sentence alone, without the names of its nodes."""
        return cls(_NUMBERS[error.error_code].name, error_sentences.sentence(error))
