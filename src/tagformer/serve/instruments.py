"""What a server counts and measures, for Prometheus; each server has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Instruments:
    """The counters of one server.

    >>> from tagformer.serve.instruments import Instruments
    >>> instruments = Instruments()
    >>> instruments.encoded_batch.observe(3)
    >>> b"tagformer_encoded_batch_size_sum 3.0" in instruments.page()
    True
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "tagformer_requests",
            "Answers by route, method and status",
            ("route", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "tagformer_request_seconds", "From request to answer", ("route",), buckets=SECONDS, registry=registry
        )
        self.encoded_batch = Histogram(
            "tagformer_encoded_batch_size", "Images encoded at a time", buckets=SIZES, registry=registry
        )
        self.decoded_batch = Histogram(
            "tagformer_decoded_batch_size", "Kept images decoded at a time", buckets=SIZES, registry=registry
        )
        self.busy = Counter("tagformer_busy", "Requests that found the queue full", registry=registry)
        self.late = Counter("tagformer_late", "Requests that were not answered in time", registry=registry)
        self.bad_images = Counter("tagformer_bad_images", "Images that cannot be read", registry=registry)
        self.failures = Counter("tagformer_failures", "Errors of the server itself", registry=registry)
        self.label_studio_events = Counter(
            "tagformer_label_studio_events", "Events of Label Studio by action", ("action",), registry=registry
        )
        self.unmatched_choices = Counter(
            "tagformer_unmatched_choices", "Choices of Label Studio that are no labels of the model", registry=registry
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a figure that is read when the page is asked for."""
        Gauge(f"tagformer_{name}", text, registry=self.registry).set_function(value)

    def page(self) -> bytes:
        """All figures, in the text format of Prometheus."""
        return generate_latest(self.registry)
