"""/metrics of a worker or scheduler: a small HTTP server of its own, where the operator has asked for one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from taskflow.leader import Leader
from taskflow.settings import Settings
from taskflow.telemetry import get_logger

PATHS = ("/metrics", "/")
RETRY_SECONDS = 2.0
SILENT_SECONDS = 10.0
"""A client that says nothing for so long is not waited for."""


class ProcessFigures(Collector):
    """What every worker and scheduler tells of itself. `leader` None: it does not stand for leader."""

    def __init__(self, leader: Leader | None) -> None:
        self._leader = leader
        self._started_at = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """All families; called for each scrape."""
        leads = float(self._leader is not None and self._leader.leading)
        yield GaugeMetricFamily("taskflow_is_leader", "1 while this process runs the leader's loops", value=leads)
        uptime = time.monotonic() - self._started_at
        yield GaugeMetricFamily("taskflow_uptime_seconds", "Since this process started", value=uptime)


class Handler(BaseHTTPRequestHandler):
    """Answers GET /metrics."""

    server_version, sys_version = "taskflow", ""
    timeout = SILENT_SECONDS
    registry: CollectorRegistry

    def do_GET(self) -> None:
        """All figures, in the format that the scraper accepts."""
        if self.path.partition("?")[0] not in PATHS:
            self.send_error(404)
            return
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encoder(self.registry)
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A scrape leaves no line."""


class MetricsPort:
    """Serves the figures of `collectors` on an address of its own.

    A port that somebody has, perhaps the process that this one replaces, is asked for again until it is free: work
    does not wait for it.
    """

    def __init__(self, host: str, port: int, *collectors: Collector) -> None:
        self._address = (host, port)
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        self._stopping = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._lock = threading.Lock()
        self._log = get_logger("metrics")

    def start(self) -> None:
        """Begin, in the background."""
        threading.Thread(target=self._run, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Serve nothing more."""
        with self._lock:
            self._stopping.set()
            server = self._server
        if server is not None:
            server.shutdown()
            server.server_close()

    def _run(self) -> None:
        server = self._open()
        if server is not None:
            self._log.info("metrics_served", host=self._address[0], port=self._address[1])
            server.serve_forever()

    def _open(self) -> ThreadingHTTPServer | None:
        said = False
        while not self._stopping.is_set():
            try:
                server = _server(*self._address, self._registry)
            except OSError as error:
                if not said:
                    host, port = self._address
                    self._log.warning(
                        "metrics_not_served",
                        host=host,
                        port=port,
                        error=str(error),
                        next="trying again until it can be",
                    )
                said = True
                self._stopping.wait(RETRY_SECONDS)
                continue
            with self._lock:
                if not self._stopping.is_set():
                    self._server = server
                    return server
            server.server_close()
        return None


@contextlib.contextmanager
def metrics_served(
    settings: Settings, leader: Leader | None, *collectors: Collector, offset: int = 0
) -> Iterator[None]:
    """Serve them during this block, on the port of the settings or one above it; nowhere if there is none."""
    if not settings.metrics_port:
        yield
        return
    port = MetricsPort(settings.metrics_host, settings.metrics_port + offset, ProcessFigures(leader), *collectors)
    port.start()
    try:
        yield
    finally:
        port.stop()


def _server(host: str, port: int, registry: CollectorRegistry) -> ThreadingHTTPServer:
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    handler = type("BoundHandler", (Handler,), {"registry": registry})
    bound = type("BoundServer", (ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True})
    server: ThreadingHTTPServer = bound(address[:2], handler)
    return server
