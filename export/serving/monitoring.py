"""Figures for Prometheus, in a registry of their own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

if TYPE_CHECKING:
    from export.serving.log_lines import LogLines
    from export.serving.memory import Budget
    from export.serving.versions import Condition

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
# tensorflow_serving/apis/get_model_status.proto
_STATES = {"START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50}


class Monitoring:
    """What the server counts.

    `request_count` and `request_latency` have TF Serving's names and units, so that its dashboards and alerts work. Its
    counter has no suffix `_total`, which the library adds to counters; so it is a gauge that only grows.
    """

    PATH = "/monitoring/prometheus/metrics"  # Where TF Serving's monitoring config usually puts them.

    def __init__(self):
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        counter = functools.partial(Counter, registry=self._registry)
        gauge = functools.partial(Gauge, registry=self._registry)
        histogram = functools.partial(Histogram, registry=self._registry)
        self.requests = counter("dsg_requests", "predictions that were answered or refused", ["signature", "code"])
        self.refused = counter("dsg_refused", "requests of any kind, refused", ["interface", "reason"])
        self.seconds = histogram("dsg_request_seconds", "from arrival to answer", ["signature"], buckets=_SECONDS)
        self.queue_seconds = histogram("dsg_queue_seconds", "predictions' wait for their turn", buckets=_SECONDS)
        self.run_seconds = histogram("dsg_run_seconds", "runs of the network, for a batch each", buckets=_SECONDS)
        self.batch_images = histogram("dsg_batch_images", "images that ran together", buckets=(1, 2, 4, 8, 16, 32, 64))
        self.in_flight = gauge("dsg_requests_in_flight", "predictions that are waiting or running")
        self.memory = gauge("dsg_memory_reserved_bytes", "memory that requests in flight may take")
        self.memory_budget = gauge("dsg_memory_budget_bytes", "memory that they may take at most")
        self.connections = gauge("dsg_connections", "open connections", ["interface"])
        self.version_state = gauge(
            "dsg_model_version_state", "1 for the state in which a version is", ["version", "state"]
        )
        self.log_lines_dropped = gauge("dsg_log_lines_dropped_total", "lines of the log for which nobody made room")
        self.tf_serving_count = gauge(":tensorflow:serving:request_count", "predictions", ["model_name", "status"])
        self.tf_serving_latency = histogram(
            ":tensorflow:serving:request_latency",
            "from arrival to answer, microseconds",
            ["model_name", "API", "entrypoint"],
            buckets=[1e6 * seconds for seconds in _SECONDS],
        )

    def observe(self, budget: Budget, log: LogLines) -> None:
        """Whose figures are looked up when somebody asks."""
        self.memory_budget.set(budget.capacity)
        self.memory.set_function(lambda: budget.reserved)
        self.log_lines_dropped.set_function(lambda: log.dropped)

    def observe_versions(self, conditions: Mapping[int, Condition]) -> None:
        """The state of the model."""
        for version, condition in conditions.items():
            for name, number in _STATES.items():
                self.version_state.labels(str(version), name).set(condition.state == number)

    def page(self) -> bytes:
        """All of them as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)
