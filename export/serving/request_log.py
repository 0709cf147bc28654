"""What became of every request: one line in the log, and the counters."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Iterator

from absl import logging

from export.serving.monitoring import Monitoring
from export.serving.status import Status

UNKNOWN = "unknown"  # Signature of what is refused before its signature is found.


@dataclasses.dataclass
class Entry:
    """One request.

    Attributes:
      interface: "grpc" or "rest".
      peer: who asks.
      what: of a prediction, its signature, which must be one that exists: Prometheus keeps each label; of other
        requests, their name.
      is_prediction: whether it counts as one.
      details: for the log.
      queue_seconds, run_seconds: of a prediction, when it has run.
    """

    interface: str
    peer: str
    what: str = UNKNOWN
    is_prediction: bool = True
    details: str = ""
    queue_seconds: float = 0.0
    run_seconds: float = 0.0


class RequestLog:
    """Writes the lines and counts.

    Args:
      monitoring: the counters.
      model_name: a label of TF Serving's.
    """

    def __init__(self, monitoring: Monitoring, model_name: str):
        self._monitoring, self._model_name = monitoring, model_name

    @contextlib.contextmanager
    def entry(self, interface: str, peer: str, what: str = "") -> Iterator[Entry]:
        """Follows one request to its end; every error comes out as a `Status`.

        Args:
          interface, peer: see `Entry`.
          what: the name of what is no prediction.
        """
        entry = Entry(interface, peer, what or UNKNOWN, not what)
        start, code = time.monotonic(), "INTERNAL"
        try:
            yield entry
            code = "OK"
        except Status as error:
            code, entry.details = error.code, error.message
            raise
        except ConnectionError as error:
            code, entry.details = "CANCELLED", f"the client went away: {error}"
            raise Status(code, entry.details) from error
        except asyncio.CancelledError:
            code, entry.details = "CANCELLED", "the client went away"
            raise
        except Exception as error:
            # A fault of the server must not end what answers the next request.
            logging.exception("%s: %s", entry.what, error)
            entry.details = f"{type(error).__name__}: {error}"
            raise Status("INTERNAL", entry.details) from error
        finally:
            self._finish(entry, code, time.monotonic() - start)

    def refusal(self, interface: str, peer: str, reason: str, details: str) -> None:
        """Notes what was refused before it was a request."""
        self._monitoring.refused.labels(interface, reason).inc()
        logging.info("%s %s refused: %s", interface, peer, details[:300])

    def _finish(self, entry: Entry, code: str, seconds: float) -> None:
        if code != "OK":
            self._monitoring.refused.labels(entry.interface, code).inc()
        if entry.is_prediction:
            self._monitoring.requests.labels(entry.what, code).inc()
            self._monitoring.seconds.labels(entry.what).observe(seconds)
            self._monitoring.tf_serving_count.labels(self._model_name, code).inc()
            entrypoint = {"grpc": "GRPC", "rest": "REST"}[entry.interface]
            self._monitoring.tf_serving_latency.labels(self._model_name, "Predict", entrypoint).observe(1e6 * seconds)
        elif code == "OK":
            return  # Probes and scrapes, several a minute.
        logging.info(
            "%s %s %s %s %.1f ms (queue %.1f, run %.1f): %s",
            entry.interface,
            entry.peer,
            entry.what,
            code,
            1000 * seconds,
            1000 * entry.queue_seconds,
            1000 * entry.run_seconds,
            entry.details[:300],
        )
