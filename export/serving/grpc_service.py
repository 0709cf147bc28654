"""PredictionService, ModelService and health checks over gRPC."""

from __future__ import annotations

from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)

from export.serving.predictor import Predictor
from export.serving.status import Status

SIGNATURE_DEF = "signature_def"
SPARE_THREADS = 8  # For status, metadata and health while all predictions wait.


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; Classify, Regress and MultiInference are UNIMPLEMENTED: the model has none."""

    def __init__(self, predictor: Predictor):
        self._predictor = predictor

    def Predict(self, request, context):
        with _Refusals(context), self._predictor.slot():
            return self._predictor.predict(
                request,
                context.time_remaining(),
                context.peer(),
                on_start=lambda future: context.add_callback(future.cancel),
            )

    def GetModelMetadata(self, request, context):
        with _Refusals(context):
            return metadata(self._predictor, request)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, predictor: Predictor):
        self._versions = predictor.versions

    def GetModelStatus(self, request, context):
        with _Refusals(context):
            return status(self._versions, request)

    def HandleReloadConfigRequest(self, request, context):
        response = model_management_pb2.ReloadConfigResponse()
        try:
            self._versions.reload(request.config)
        except Status as error:  # TF Serving reports it inside the answer.
            response.status.error_code = error.grpc_code.value[0]
            response.status.error_message = error.message
        return response


def metadata(predictor: Predictor, request) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures of a version.

    Raises:
      Status: INVALID_ARGUMENT: other fields than "signature_def" are asked for; NOT_FOUND.
    """
    wrong = [field for field in request.metadata_field if field != SIGNATURE_DEF]
    if wrong or not request.metadata_field:
        raise Status(
            "INVALID_ARGUMENT",
            f"Metadata field {wrong[0]} is not supported"
            if wrong
            else "GetModelMetadataRequest must specify at least one metadata_field",
        )
    servable = predictor.versions.find(request.model_spec)
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name, response.model_spec.version.value = request.model_spec.name, servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata[SIGNATURE_DEF].Pack(signatures)
    return response


def status(versions, request) -> get_model_status_pb2.GetModelStatusResponse:
    """The state of the versions.

    Raises:
      Status: NOT_FOUND.
    """
    response = get_model_status_pb2.GetModelStatusResponse()
    for version, condition in versions.conditions(request.model_spec).items():
        item = response.model_version_status.add(version=version, state=condition.state)
        if condition.error:
            item.status.error_code, item.status.error_message = grpc.StatusCode.UNKNOWN.value[0], condition.error
    return response


class Server:
    """The gRPC server.

    Args:
      predictor: what answers.
      address: "host:port"; port 0 takes a free one.
      tls: private key and certificate chain (PEM), or None.

    Attributes:
      port: where it listens.

    Raises:
      RuntimeError: the address is taken.
    """

    def __init__(self, predictor: Predictor, address: str, tls: tuple[bytes, bytes] | None = None):
        limits = predictor.limits
        self._server = grpc.server(
            futures.ThreadPoolExecutor(limits.concurrent + SPARE_THREADS),
            options=[
                ("grpc.max_receive_message_length", limits.message_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
            ],
            # Beyond what is refused with a sentence: gRPC itself refuses before a thread is taken.
            maximum_concurrent_rpcs=2 * (limits.concurrent + SPARE_THREADS),
        )
        self.health = health.HealthServicer()
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(predictor), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(predictor), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = (
            self._server.add_secure_port(address, grpc.ssl_server_credentials([tls]))
            if tls
            else self._server.add_insecure_port(address)
        )
        self._server.start()

    def set_ready(self, ready: bool) -> None:
        """What health checks are told."""
        for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            self.health.set(
                service, health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
            )

    def drain(self, seconds: float) -> None:
        """Accepts nothing more, and returns when what was accepted is answered, or after so many seconds."""
        self._server.stop(seconds).wait()


class _Refusals:
    """Turns `Status` into the status of the RPC."""

    def __init__(self, context):
        self._context = context

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, Status):
            self._context.abort(error.grpc_code, error.message)
