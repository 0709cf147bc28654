"""PredictionService, ModelService and health checks over gRPC.

All methods are served as streams of bytes, which look the same on the wire: so that a message is received when there is
memory for it and not before, within its time, and unpacked by us. gRPC itself would receive and unpack every message in
full before it tells anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from grpc import aio
from grpc_health.v1 import health_pb2
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from export.serving import model_info, unpacking
from export.serving.access import Access
from export.serving.call import Call
from export.serving.limits import Deadline
from export.serving.memory import Budget, Place
from export.serving.predictor import Predictor
from export.serving.request_log import Entry, RequestLog
from export.serving.status import Status

_COPIES = 4  # Of an answer that are in memory for a moment: arrays, the proto, its bytes, and gRPC's.
_Answer = Callable[[Any, Entry, Place, Deadline], Awaitable[Any]]


class Service:
    """The methods.

    Args:
      predictor: what answers predictions.
      budget: the memory of predictions.
      access: who may ask.
      log: what became of each request.
      allow_reload: whether HandleReloadConfigRequest is for everybody.
    """

    def __init__(self, predictor: Predictor, budget: Budget, access: Access, log: RequestLog, allow_reload: bool):
        self._predictor, self._budget, self._access, self._log = predictor, budget, access, log
        self._versions, self._limits, self._allow_reload = predictor.versions, predictor.limits, allow_reload
        # Of what is asked beside predictions: small, soon there, and answered when there is room for nothing else.
        self._spare = Budget(2 * self._limits.message_bytes, grace=0.1)
        self._ready, self._readiness = False, asyncio.Condition()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """What the server is given."""
        prediction = {
            "Predict": self._method(predict_pb2.PredictRequest, self._predict, ""),
            "GetModelMetadata": self._method(
                get_model_metadata_pb2.GetModelMetadataRequest, self._metadata, "GetModelMetadata"
            ),
            "Classify": self._method(classification_pb2.ClassificationRequest, self._classify, "Classify"),
            "Regress": self._method(regression_pb2.RegressionRequest, self._regress, "Regress"),
            "MultiInference": self._method(
                inference_pb2.MultiInferenceRequest, self._multi_inference, "MultiInference"
            ),
        }
        model = {
            "GetModelStatus": self._method(get_model_status_pb2.GetModelStatusRequest, self._status, "GetModelStatus"),
            "HandleReloadConfigRequest": self._method(
                model_management_pb2.ReloadConfigRequest, self._reload, "HandleReloadConfigRequest"
            ),
        }
        health = {
            "Check": self._method(health_pb2.HealthCheckRequest, self._check, "Check", needs_token=False),
            "Watch": self._method(health_pb2.HealthCheckRequest, self._watch, "Watch", needs_token=False),
        }
        return [
            grpc.method_handlers_generic_handler(service, methods)
            for service, methods in (
                ("tensorflow.serving.PredictionService", prediction),
                ("tensorflow.serving.ModelService", model),
                ("grpc.health.v1.Health", health),
            )
        ]

    async def set_ready(self, ready: bool) -> None:
        """What health checks are told."""
        async with self._readiness:
            self._ready = ready
            self._readiness.notify_all()

    def _method(self, kind, answer: _Answer, what: str, needs_token: bool = True) -> grpc.RpcMethodHandler:
        """A handler that receives one message within bounds, and sends what `answer` makes of it.

        Args:
          kind: class of the message.
          answer: from the message, the request's log entry, its place and its deadline to the response, or to an
            asynchronous iterator of responses.
          what: name for the log; "": it is a prediction.
          needs_token: whether it is only for those who have it.
        """
        budget = self._spare if what else self._budget

        async def handle(_, context):
            refusal = None
            try:
                with self._log.entry("grpc", context.peer(), what) as entry:
                    if needs_token:
                        self._access.check(dict(context.invocation_metadata()).get("authorization", ""))
                    await self._answer(kind, answer, context, entry, budget)
            except Status as error:
                # The error ends here, and with it what its stack trace holds: the request.
                refusal = error.grpc_code, error.message
            if refusal:
                with contextlib.suppress(aio.InternalError):  # Nobody is there any more.
                    await context.abort(*refusal)

        return grpc.stream_stream_rpc_method_handler(handle)

    async def _answer(self, kind, answer: _Answer, context, entry: Entry, budget: Budget) -> None:
        remaining = context.time_remaining()
        deadline = Deadline(self._limits.seconds if remaining is None else min(remaining, self._limits.seconds))
        async with budget.place(self._limits.message_bytes, deadline.left, entry.peer) as place:
            message = await self._message(kind, context, place, deadline)
            response = await answer(message, entry, place, deadline)
            del message
            await self._send(context, response, deadline.to_send)
            place.answered()

    async def _message(self, kind, context, place: Place, deadline: Deadline):
        raw = await place.receive(context.read(), deadline.left)
        if raw is aio.EOF:
            raise Status("INVALID_ARGUMENT", "the request has no message")
        if raw.startswith(unpacking.MAGIC):
            place.resize(len(raw) + self._limits.message_bytes)
            raw = await self._predictor.read(unpacking.gunzip, raw, self._limits, size=self._limits.message_bytes)
        place.resize(2 * len(raw))
        try:
            message = await self._predictor.read(kind.FromString, raw, size=len(raw))
        except DecodeError as error:
            raise Status("INVALID_ARGUMENT", f"the message is no {kind.DESCRIPTOR.name}: {error}") from error
        place.resize(len(raw))
        return message

    async def _send(self, context, response, seconds: float) -> None:
        """Sends, for as long as somebody reads."""
        try:
            if hasattr(response, "SerializeToString"):
                await asyncio.wait_for(context.write(response.SerializeToString()), seconds)
                return
            async for part in response:
                await context.write(part.SerializeToString())
        except asyncio.TimeoutError:
            raise Status("DEADLINE_EXCEEDED", "the client did not read the answer") from None
        except aio.InternalError as error:  # The call ended under our hands.
            raise ConnectionResetError("it did not wait for the answer") from error

    async def _predict(self, request, entry, place, deadline):
        model_info.check_spec(request)
        # The place has the size of the message now; to ask the message itself would be to write all of it.
        with self._predictor.admitted(entry):
            call, outputs = await self._predictor.predict(request, place.size, entry, place, deadline, _COPIES)
        return _response(request.model_spec.name, call, outputs)

    async def _metadata(self, request, entry, place, deadline):
        return model_info.metadata(self._versions, request)

    async def _status(self, request, entry, place, deadline):
        return model_info.status(self._versions, request)

    async def _classify(self, request, entry, place, deadline):
        model_info.check_spec(request)
        refuse_method(self._versions, request.model_spec, "classify")

    async def _regress(self, request, entry, place, deadline):
        model_info.check_spec(request)
        refuse_method(self._versions, request.model_spec, "regress")

    async def _multi_inference(self, request, entry, place, deadline):
        # The first task decides: there is none that could be done.
        task = request.tasks[0] if request.tasks else inference_pb2.InferenceTask()
        self._versions.find(task.model_spec)
        prefix, _, method = task.method_name.rpartition("/")
        if prefix != "tensorflow/serving" or method not in _SIGNATURES:
            raise Status("UNIMPLEMENTED", f"Unsupported signature method_name: {task.method_name[:100]}")
        refuse_method(self._versions, task.model_spec, method)

    async def _reload(self, request, entry, place, deadline):
        if not self._allow_reload:
            raise Status("PERMISSION_DENIED", "this server was started without --allow_reload")
        await asyncio.to_thread(self._versions.reload, request.config)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    async def _check(self, request, entry, place, deadline):
        if request.service not in _SERVICES:
            raise Status("NOT_FOUND", "unknown service")
        return health_pb2.HealthCheckResponse(status=_health(self._ready))

    async def _watch(self, request, entry, place, deadline):
        place.resize(0)  # It may stay for days.

        async def changes():
            told = None
            while True:
                now = _health(self._ready) if request.service in _SERVICES else _SERVICE_UNKNOWN
                if now != told:
                    told = now
                    yield health_pb2.HealthCheckResponse(status=now)
                async with self._readiness:
                    await self._readiness.wait()

        return changes()


_SERVICES = ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")
# What TF Serving calls the signatures of its methods.
_SIGNATURES = {"classify": "classification", "regress": "regression"}
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


def refuse_method(versions, spec, method: str) -> None:
    """Raises what TF Serving answers to Classify and Regress where a model has signatures for Predict only."""
    servable = versions.find(spec)
    signature = servable.definitions.get(spec.signature_name or "serving_default")
    if signature is None:
        raise Status("INVALID_ARGUMENT", f"No signature was found with the name: {spec.signature_name[:100]}")
    raise Status(
        "INVALID_ARGUMENT",
        f"Expected {_SIGNATURES[method]} signature method_name to be tensorflow/serving/{method}. "
        f"Was: {signature.method_name}",
    )


def _health(ready: bool) -> int:
    return health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING


def _response(name: str, call: Call, outputs) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = name, call.signature
    response.model_spec.version.value = call.servable.version
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(_tensor(value))
    return response


def _tensor(value: np.ndarray) -> tensor_pb2.TensorProto:
    if value.dtype != bool:
        return tf.make_tensor_proto(value)
    # TensorFlow would append them one by one, and nobody else be served meanwhile.
    shape = tf.TensorShape(value.shape).as_proto()
    return tensor_pb2.TensorProto(dtype=types_pb2.DT_BOOL, tensor_shape=shape, bool_val=value.ravel().tolist())
