"""Answers a PredictRequest, whichever way it came."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import time
from collections.abc import Iterator

import numpy as np
from tensorflow_serving.apis import predict_pb2

from export.serving import call as call_lib
from export.serving.batching import Batcher, Result
from export.serving.call import Call
from export.serving.limits import Deadline, Limits, Slots
from export.serving.memory import Place
from export.serving.monitoring import Monitoring
from export.serving.request_log import Entry
from export.serving.servable import DEFAULT_SIGNATURE
from export.serving.status import Status
from export.serving.versions import Versions

_COPIES_OF_INPUTS = 4  # In memory while a request runs: the proto, arrays, TensorFlow's tensors, their rows.
_LARGE = 2**18  # Bytes from which on a request is read in a thread: the event loop has others to look after.


class Predictor:
    """What gRPC and REST share: limits, the choice of the version, and the queue.

    Args:
      versions, batcher, limits, monitoring: its parts.
    """

    def __init__(self, versions: Versions, batcher: Batcher, limits: Limits, monitoring: Monitoring):
        self.versions, self.limits = versions, limits
        self._batcher, self._monitoring = batcher, monitoring
        self._slots = Slots(limits.concurrent, limits.of_one_peer)
        self._readers = concurrent.futures.ThreadPoolExecutor(2, "reader")

    async def read(self, function, *arguments, size: int):
        """`function(*arguments)`, in a thread where `size` bytes are many."""
        if size < _LARGE:
            return function(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._readers, function, *arguments)

    @contextlib.contextmanager
    def admitted(self, entry: Entry) -> Iterator[None]:
        """The place of a request among those that wait or run, until it is answered, in however many parts.

        Raises:
          Status: RESOURCE_EXHAUSTED: none is free; UNAVAILABLE: the server is stopping.
        """
        with self._slots.one(entry.peer), self._monitoring.in_flight.track_inprogress():
            yield

    async def predict(
        self,
        request: predict_pb2.PredictRequest,
        size: int,
        entry: Entry,
        place: Place,
        deadline: Deadline,
        copies: int,
    ) -> tuple[Call, dict[str, np.ndarray]]:
        """The outputs by name that an `admitted` request asks for, and what it was.

        Args:
          request: what has arrived.
          size: its bytes.
          entry: for the log.
          place: the memory of the request, and of its answer.
          deadline: when nobody waits for the answer any more.
          copies: of the answer that will be in memory for a moment.

        Raises:
          Status: why there is none.
        """
        servable = self.versions.find(request.model_spec)
        servable.signature(request.model_spec.signature_name)
        entry.what = request.model_spec.signature_name or DEFAULT_SIGNATURE
        place.resize(_COPIES_OF_INPUTS * size)
        call = await self.read(servable.prepare, request, self.limits, size=size)
        entry.details = f"{call.images} images, {call.queries} queries, version {servable.version}"
        place.resize(_COPIES_OF_INPUTS * size + copies * servable.output_bytes(call))
        return call, await self._outputs(call, entry, deadline)

    def drain(self, seconds: float) -> None:
        """Refuses new requests, and returns when those under way are answered, or after so many seconds."""
        self._slots.close(seconds)

    async def _outputs(self, call: Call, entry: Entry, deadline: Deadline) -> dict[str, np.ndarray]:
        pieces = call.pieces(self.limits.together(bool(call.pixels)), self.limits.pixels)
        starts = np.cumsum([0, *(piece.images for piece in pieces)])
        futures = [
            asyncio.wrap_future(self._batcher.submit(piece, entry.peer, int(row), time.monotonic() + deadline.left))
            for piece, row in zip(pieces, starts)
        ]
        answering = asyncio.gather(*futures)
        # When the client has gone, nobody asks how it ended; asyncio would complain.
        answering.add_done_callback(lambda all_of_them: all_of_them.cancelled() or all_of_them.exception())
        try:
            results: list[Result] = await asyncio.wait_for(answering, deadline.left)
        except asyncio.TimeoutError:
            raise Status("DEADLINE_EXCEEDED", "there is no answer yet, and nobody waits for it any more") from None
        finally:
            for future in futures:  # What has not begun need not run.
                future.cancel()
            # An error in them knows this frame, which knows them: without a word both would stay for a while.
            del futures, answering
        entry.queue_seconds, entry.run_seconds = results[0].queue_seconds, sum(r.run_seconds for r in results)
        return call_lib.joined([result.outputs for result in results])
