"""Answers a PredictRequest, whichever way it came."""

from __future__ import annotations

import concurrent.futures
import time

import tensorflow as tf
from absl import logging
from tensorflow_serving.apis import predict_pb2

from export.serving.batching import Batcher
from export.serving.limits import Limits, Slots
from export.serving.monitoring import Monitoring
from export.serving.servable import DEFAULT_SIGNATURE, Call
from export.serving.status import Status
from export.serving.versions import Versions

UNKNOWN = "unknown"  # Of requests that are refused before their signature is found.


class Predictor:
    """What gRPC and REST share: limits, the choice of the version, the queue, counters and the log.

    Args:
      versions, batcher, limits, monitoring: its parts.
    """

    def __init__(self, versions: Versions, batcher: Batcher, limits: Limits, monitoring: Monitoring):
        self.versions, self.limits, self.monitoring = versions, limits, monitoring
        self._batcher, self._slots = batcher, Slots(limits.concurrent, self._count_refusal)

    def slot(self):
        """A context: one of the requests that are being answered. Take it before the request's memory is taken.

        Raises:
          Status: RESOURCE_EXHAUSTED: all are taken; UNAVAILABLE: the server is stopping.
        """
        return self._slots.one()

    def drain(self, seconds: float) -> None:
        """Refuses new requests, and returns when those under way are answered, or after so many seconds."""
        self._slots.close(seconds)

    def predict(
        self, request: predict_pb2.PredictRequest, seconds: float | None, caller: str, on_start=lambda future: None
    ) -> predict_pb2.PredictResponse:
        """The answer to a request that has a slot.

        Args:
          seconds: until nobody waits for the answer any more; None: for ever.
          caller: for the log.
          on_start: called with the future that can be cancelled.

        Raises:
          Status: why there is none.
        """
        # Any text may stand in a request; only names that exist become labels, of which Prometheus keeps each.
        start, signature, code, size = time.monotonic(), UNKNOWN, "INTERNAL", ""
        self.monitoring.in_flight.inc()
        try:
            servable = self.versions.find(request.model_spec)
            servable.signature(request.model_spec.signature_name)
            signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
            call = servable.prepare(request, self.limits.check)
            size = f"{call.images} images, {call.queries} queries, version {servable.version}"
            response = _response(request.model_spec.name, call, self._outputs(call, start, seconds, on_start))
            code = "OK"
            return response
        except Status as error:
            code, size = error.code, error.message
            raise
        finally:
            self.monitoring.in_flight.dec()
            elapsed = time.monotonic() - start
            self.monitoring.requests.labels(signature, code).inc()
            self.monitoring.seconds.labels(signature).observe(elapsed)
            logging.info("%s %s %s %.1f ms: %s", caller, signature, code, 1000 * elapsed, size[:300])

    def _count_refusal(self, code: str) -> None:
        self.monitoring.requests.labels(UNKNOWN, code).inc()

    def _outputs(self, call: Call, start: float, seconds: float | None, on_start):
        future = self._batcher.submit(call, float("inf") if seconds is None else start + seconds)
        on_start(future)
        try:
            return future.result(seconds)
        except concurrent.futures.CancelledError:
            raise Status("CANCELLED", "the client went away") from None
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise Status("DEADLINE_EXCEEDED", f"no answer within {seconds:.3f} s") from None


def _response(name: str, call: Call, outputs) -> predict_pb2.PredictResponse:
    response = predict_pb2.PredictResponse()
    response.model_spec.name, response.model_spec.signature_name = name, call.signature
    response.model_spec.version.value = call.servable.version
    for key, value in outputs.items():
        response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
    return response
