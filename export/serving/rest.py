"""TF Serving's REST interface.

HTTP is aiohttp's: it parses in C and strictly (two lengths, a length beside chunks: 400, and the connection ends),
reads on or closes where a request is answered before its body is there, and lives in the event loop of the gRPC server.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Callable

import orjson
from aiohttp import web
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from export.serving import grpc_service, model_info, questions, rest_json, unpacking
from export.serving.access import Access
from export.serving.limits import Deadline
from export.serving.memory import Budget, Place
from export.serving.monitoring import Monitoring
from export.serving.predictor import Predictor
from export.serving.request_log import Entry, RequestLog
from export.serving.status import Status

# tensorflow_serving/model_servers/http_rest_api_util.cc; `words` and `ask` are ours.
_VERSION = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_PREDICT = re.compile(rf"/v1/models/([^/:]+){_VERSION}:((?-i:predict|classify|regress|ask))", re.ASCII | re.IGNORECASE)
_GET = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION}(?:/(metadata|words))?", re.ASCII | re.IGNORECASE)
_LARGEST_VERSION = 2**63 - 1
_HEADERS = {"Server": "dsg_tf"}


class Api:
    """Answers HTTP requests.

    Args:
      predictor: what answers predictions.
      budget: the memory of predictions.
      access: who may ask.
      log: what became of each request.
      monitoring: the page for Prometheus.
    """

    def __init__(self, predictor: Predictor, budget: Budget, access: Access, log: RequestLog, monitoring: Monitoring):
        self._predictor, self._budget, self._access = predictor, budget, access
        self._log, self._monitoring = log, monitoring
        self._versions, self._limits = predictor.versions, predictor.limits

    async def answer(
        self, request: web.BaseRequest, on_arrival: Callable[[], object] = lambda: None
    ) -> web.StreamResponse:
        """The response to one request, sent.

        Args:
          request: its head; its body may still be on the way.
          on_arrival: called when all of it is there.

        Raises:
          ConnectionError: nobody reads the response.
        """
        path = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
        found = _PREDICT.fullmatch(path) if request.method == "POST" else None
        what = "" if found else f"{request.method} {path[:60]}"
        deadline = Deadline(self._limits.seconds)
        refusal = None
        try:
            with self._log.entry("rest", peer_of(request), what) as entry:
                self._access.check(request.headers.get("Authorization", ""))
                if not found:
                    on_arrival()
                    response = self._get(request.method, path)
                    await _send(request, response, deadline.to_send)
                    return response
                async with self._budget.place(self._size(request), deadline.left, entry.peer) as place:
                    response = _json(await self._post(request, found, entry, place, deadline, on_arrival))
                    await _send(request, response, deadline.to_send)
                    place.answered()
                    return response
        except Status as error:
            # The error ends here, and with it what its stack trace holds: the request.
            refusal = Status(error.code, error.message)
        if refusal.code == "CANCELLED":
            raise ConnectionResetError(refusal.message)
        response = _json(orjson.dumps({"error": refusal.message}), refusal)
        await _send(request, response, deadline.to_send)
        return response

    def _get(self, method: str, path: str) -> web.Response:
        if path.partition("?")[0] == Monitoring.PATH:
            if path != Monitoring.PATH:
                raise Status("INVALID_ARGUMENT", f"Unexpected path: {path[:100]}. Should be {Monitoring.PATH}")
            return web.Response(
                body=self._monitoring.page(), headers={**_HEADERS, "Content-Type": "text/plain; version=0.0.4"}
            )
        if not path.lower().startswith("/v1/"):
            raise Status("NOT_FOUND", f"Not Found: {path[:100]}")
        found = _GET.fullmatch(path) if method == "GET" else None
        if not found:
            raise Status("INVALID_ARGUMENT", f"Malformed request: {method} {path[:200]}")
        if not found.group(1):
            raise Status("INVALID_ARGUMENT", "Missing model name in request.")
        spec, resource = _spec(found), found.group(4)
        if resource == "words":
            value = model_info.words(self._versions, spec)
        elif resource == "metadata":
            wanted = get_model_metadata_pb2.GetModelMetadataRequest(
                model_spec=spec, metadata_field=[model_info.SIGNATURE_DEF]
            )
            value = model_info.as_json(model_info.metadata(self._versions, wanted))
        else:
            value = model_info.as_json(
                model_info.status(self._versions, get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
            )
        return _json(orjson.dumps(value, option=orjson.OPT_INDENT_2))

    def _size(self, request: web.BaseRequest) -> int:
        """Memory of the body, as far as one can know."""
        length = request.content_length
        if length is None:  # It comes in chunks.
            return self._limits.message_bytes
        self._limits.check_bytes(length)
        return length + (self._limits.message_bytes if _is_packed(request) else 0)

    async def _body(self, request: web.BaseRequest) -> bytearray:
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # Or it would count as a response that has begun.
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            self._limits.check_bytes(len(body))
        return body

    async def _post(
        self,
        http_request: web.BaseRequest,
        found: re.Match,
        entry: Entry,
        place: Place,
        deadline: Deadline,
        on_arrival: Callable[[], object],
    ) -> bytes:
        """The body of the answer to a POST."""
        body = await place.receive(self._body(http_request), deadline.left)
        on_arrival()
        request = predict_pb2.PredictRequest(model_spec=_spec(found))
        method = found.group(4)
        read = self._predictor.read
        if body.startswith(unpacking.MAGIC):
            body = await read(unpacking.gunzip, body, self._limits, size=self._limits.message_bytes)
        values = rest_json.count_values(body, self._limits)
        place.resize(3 * len(body) + rest_json.VALUE_BYTES * values)
        size = len(body) + rest_json.VALUE_BYTES * values
        value = await read(rest_json.parse, body, size=size)
        request.model_spec.signature_name = value.get("signature_name", "")
        if method in ("classify", "regress"):
            self._refuse(method, value, request.model_spec)
        servable = self._versions.find(request.model_spec)
        if method == "ask":
            asked = await read(questions.Questions.of_json, value, size=size)
            del body, value
            with self._predictor.admitted(entry):
                return await questions.ask(self._predictor, servable, asked, entry, place, deadline)
        name = request.model_spec.signature_name or "serving_default"
        if name not in servable.signatures:
            raise Status("INVALID_ARGUMENT", f'Serving signature name: "{name[:100]}" not found in signature def')
        await read(rest_json.fill, request, value, servable.signatures[name].inputs, size=size)
        in_rows = "instances" in value
        del body, value
        message_size = await read(request.ByteSize, size=size)
        with self._predictor.admitted(entry):
            _, outputs = await self._predictor.predict(request, message_size, entry, place, deadline, rest_json.COPIES)
        return await read(rest_json.answer, outputs, in_rows, size=max(size, place.size // rest_json.COPIES))

    def _refuse(self, method: str, value, spec) -> None:
        if "examples" not in value:
            raise Status("INVALID_ARGUMENT", f"When method is {method}, key 'examples' is expected and was not found")
        grpc_service.refuse_method(self._versions, spec, method)


async def _send(request: web.BaseRequest, response: web.Response, seconds: float) -> None:
    """Sends, for as long as somebody reads."""
    try:
        await response.prepare(request)
        await asyncio.wait_for(response.write_eof(), seconds)
    except asyncio.TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise Status("CANCELLED", "the client did not read the answer") from None


def peer_of(request: web.BaseRequest) -> str:
    """Address and port of the client."""
    transport = request.transport
    name = transport.get_extra_info("peername") if transport is not None else None
    return f"{name[0]}:{name[1]}" if name else "unknown"


def _json(body: bytes, error: Status | None = None) -> web.Response:
    headers = {**_HEADERS, "Content-Type": "application/json"}
    if error is None:
        return web.Response(body=body, headers=headers)
    if error.code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
        headers["Retry-After"] = "1"
    if error.code == "UNAUTHENTICATED":
        headers["WWW-Authenticate"] = "Bearer"
    response = web.Response(status=error.http_code, body=body, headers=headers)
    if error.code == "UNAVAILABLE":
        response.force_close()
    return response


def _is_packed(request: web.BaseRequest) -> bool:
    return "gzip" in request.headers.get("Content-Encoding", "").lower()


def _spec(found) -> model_pb2.ModelSpec:
    """From the parts of a path."""
    spec = model_pb2.ModelSpec(name=urllib.parse.unquote(found.group(1)))
    if found.group(2):
        if int(found.group(2)) > _LARGEST_VERSION:
            raise Status("INVALID_ARGUMENT", f"Failed to convert version: {found.group(2)[:40]} to numeric.")
        spec.version.value = int(found.group(2))
    elif found.group(3):
        spec.version_label = urllib.parse.unquote(found.group(3))
    return spec
