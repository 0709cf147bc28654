"""Errors with the canonical codes that gRPC, TF Serving and its REST interface share."""

from __future__ import annotations

import grpc

# tensorflow_serving/model_servers/http_server.cc maps codes to HTTP like this; all others are 500.
HTTP = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "UNAUTHENTICATED": 401,
}
# A status travels in HTTP/2 trailers, of which clients take 8 KiB; what is not ASCII takes three times its bytes there.
LONGEST_MESSAGE = 1000
_NUMBERS = {code.value[0]: code for code in grpc.StatusCode}


class Status(Exception):
    """Why a request is not answered.

    Args:
      code: a name of `grpc.StatusCode`, such as "INVALID_ARGUMENT".
      message: for the client; what is longer than `LONGEST_MESSAGE` is cut.
    """

    def __init__(self, code: str, message: str):
        message = message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 4] + " ..."
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def grpc_code(self) -> grpc.StatusCode:
        return grpc.StatusCode[self.code]

    @property
    def http_code(self) -> int:
        return HTTP.get(self.code, 500)

    @classmethod
    def of_number(cls, number: int, message: str) -> Status:
        """From the number of a canonical code, as TensorFlow's errors have it."""
        return cls(_NUMBERS[number].name, message)
