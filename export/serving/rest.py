"""TF Serving's REST interface."""

from __future__ import annotations

import http.server
import json
import re
import sys
import threading
import urllib.parse

from absl import logging
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

from export.serving import grpc_service, rest_json
from export.serving.monitoring import Monitoring
from export.serving.predictor import Predictor
from export.serving.status import Status

# tensorflow_serving/model_servers/http_rest_api_util.cc
_MODEL = r"(?i:/v1/models/)([^/:]+)(?:(?i:/versions/)(\d+)|(?i:/labels/)([^/:]+))?"
_PREDICT = re.compile(_MODEL + r"(?i::predict)")
_STATUS = re.compile(_MODEL + r"(/metadata)?")
_LARGEST_VERSION = 2**63 - 1


class Server:
    """The HTTP server, a thread for each connection.

    Args:
      predictor: what answers.
      address: (host, port); port 0 takes a free one.
      seconds: the most that a prediction may take.

    Attributes:
      port: where it listens.
    """

    def __init__(self, predictor: Predictor, address: tuple[str, int], seconds: float):
        self._busy = _Busy()
        handler = type("Handler", (_Handler,), {"predictor": predictor, "seconds": seconds, "busy": self._busy})
        self._server = _HttpServer(address, handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def drain(self, seconds: float) -> None:
        """Accepts nothing more, and returns when what was accepted is answered, or after so many seconds."""
        self._server.shutdown()
        self._busy.wait_for_none(seconds)
        self._server.server_close()


class _HttpServer(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # Clients that connect at once; with the library's 5 the others wait for a second.

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if isinstance(error, ConnectionError):  # The client went away: nobody is left to tell.
            logging.info("%s: %s", client_address[0], error)
        else:
            logging.exception("%s: %s", client_address[0], error)


class _Busy:
    """Counts requests under way."""

    def __init__(self):
        self.draining = False
        self._count, self._changed = 0, threading.Condition()

    def __enter__(self):
        with self._changed:
            self._count += 1

    def __exit__(self, *error):
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_for_none(self, seconds: float) -> None:
        self.draining = True
        with self._changed:
            if not self._changed.wait_for(lambda: self._count == 0, seconds):
                logging.warning("%d REST requests were not answered within %g s", self._count, seconds)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection; `Server` sets the attributes."""

    predictor: Predictor
    seconds: float
    busy: _Busy

    protocol_version = "HTTP/1.1"
    timeout = 60  # Seconds that a client may be silent.

    def do_POST(self):
        with self.busy:
            self._answer(self._predict)

    def do_GET(self):
        with self.busy:
            if self.path == Monitoring.PATH:
                self._write(200, self.predictor.monitoring.page(), "text/plain; version=0.0.4; charset=utf-8")
            else:
                self._answer(self._describe)

    def log_message(self, format, *args):
        """Nothing: the predictor logs a line for each prediction."""

    def _answer(self, respond):
        try:
            self._write(200, respond())
        except Status as error:
            self._write(error.http_code, json.dumps({"error": error.message}).encode())

    def _predict(self) -> bytes:
        size = self._size()
        found = _PREDICT.fullmatch(self.path)
        with self.predictor.slot():
            body = self.rfile.read(size)
            if not found:
                raise Status("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
            value = rest_json.parse(body)
            request = predict_pb2.PredictRequest()
            _choose(request.model_spec, found)
            request.model_spec.signature_name = value.get("signature_name", "")
            signature = self.predictor.versions.find(request.model_spec).signature(request.model_spec.signature_name)
            rest_json.fill(request, value, signature.inputs)
            response = self.predictor.predict(request, self.seconds, self.client_address[0])
        return rest_json.answer(response, "instances" in value)

    def _size(self) -> int:
        """Length of the body; a body that is not read ends the connection."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit():
            self.close_connection = True
            raise Status("INVALID_ARGUMENT", "the request needs a Content-Length")
        try:
            self.predictor.limits.check_bytes(int(length))
        except Status:
            self.close_connection = True
            raise
        return int(length)

    def _describe(self) -> bytes:
        found = _STATUS.fullmatch(self.path)
        if not found:
            raise Status("INVALID_ARGUMENT", f"Malformed request: GET {self.path}")
        if not found.group(4):
            request = get_model_status_pb2.GetModelStatusRequest()
            _choose(request.model_spec, found)
            return _json(grpc_service.status(self.predictor.versions, request))
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[grpc_service.SIGNATURE_DEF])
        _choose(request.model_spec, found)
        return _json(grpc_service.metadata(self.predictor, request))

    def _write(self, code: int, body: bytes, kind: str = "application/json"):
        self.close_connection |= self.busy.draining
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _choose(spec, found) -> None:
    """Fills a ModelSpec from the parts of a path."""
    spec.name = urllib.parse.unquote(found.group(1))
    if found.group(2):
        if int(found.group(2)) > _LARGEST_VERSION:
            raise Status("INVALID_ARGUMENT", f"Failed to convert version: {found.group(2)} to numeric.")
        spec.version.value = int(found.group(2))
    elif found.group(3):
        spec.version_label = urllib.parse.unquote(found.group(3))


def _json(message) -> bytes:
    value = json_format.MessageToDict(message, preserving_proto_field_name=True)
    for version in value.get("model_version_status", []):  # A proto3 default is left out; TF Serving writes it.
        version["status"] = {"error_code": "OK", "error_message": ""} | version.get("status", {})
    return json.dumps(value, indent=1).encode()
