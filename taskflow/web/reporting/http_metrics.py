"""Counters and durations of HTTP requests, right also where several gunicorn workers serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from flask import Flask, Request, request
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_flask_exporter import PrometheusMetrics

BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
# The exporter's names, and ours.
RENAMED = {"taskflow_http_request": "taskflow_http_requests"}
LEFT_OUT = frozenset({"taskflow_exporter_info"})


def route(request: Request) -> str:
    """The rule that a request matched: paths hold ids, and would be a label each."""
    return request.url_rule.rule if request.url_rule is not None else "other"


class HttpMetrics(Collector):
    """Watches the requests of one application. With PROMETHEUS_MULTIPROC_DIR set, as `taskflow server` does, the
    figures of all its processes are added up."""

    def __init__(self, app: Flask) -> None:
        self._registry = CollectorRegistry()
        app.before_request(_leave_out_invented_methods)
        self.streams = Gauge(
            "taskflow_streams", "Open streams of events", registry=self._registry, multiprocess_mode="livesum"
        )
        PrometheusMetrics(
            app, path=None, defaults_prefix="taskflow", group_by=route, buckets=BUCKETS, registry=self._registry
        )

    def collect(self) -> Iterator[Metric]:
        """All families, under the names that the documentation promises."""
        registry = self._registry
        if SHARED_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        for family in registry.collect():
            if family.name in RENAMED:
                _rename(family, RENAMED[family.name])
            if family.name not in LEFT_OUT:
                yield family


def exposition(accept: str | None, *collectors: Collector) -> tuple[bytes, str]:
    """What the collectors have to say in the format that the scraper accepts, and its content type."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    encoder, content_type = choose_encoder(accept or "")
    return encoder(registry), content_type


def _leave_out_invented_methods() -> None:
    """A method is a label, and clients can send any word."""
    if request.method not in METHODS:
        request.prom_do_not_track = True  # type: ignore[attr-defined]


def _rename(family: Any, name: str) -> None:
    family.samples = [Sample(sample.name.replace(family.name, name, 1), *sample[1:]) for sample in family.samples]
    family.name = name
