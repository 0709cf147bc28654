"""Counters for Prometheus."""

from __future__ import annotations

import prometheus_client


class Monitoring:
    """What the server counts, in a registry of its own."""

    PATH = "/monitoring/prometheus/metrics"  # Where TF Serving's monitoring config usually puts them.

    def __init__(self):
        self._registry = prometheus_client.CollectorRegistry()
        self.requests = prometheus_client.Counter(
            "dsg_requests", "predictions that were answered or refused", ["signature", "code"], registry=self._registry
        )
        self.seconds = prometheus_client.Histogram(
            "dsg_request_seconds",
            "from arrival to answer",
            ["signature"],
            registry=self._registry,
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
        )
        self.batch_images = prometheus_client.Histogram(
            "dsg_batch_images", "images that ran together", registry=self._registry, buckets=(1, 2, 4, 8, 16, 32, 64)
        )
        self.in_flight = prometheus_client.Gauge(
            "dsg_requests_in_flight", "predictions that are waiting or running", registry=self._registry
        )

    def page(self) -> bytes:
        """All of them as Prometheus reads them."""
        return prometheus_client.generate_latest(self._registry)
