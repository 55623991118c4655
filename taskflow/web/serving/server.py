"""gunicorn, set up for this application: threads, limits, shutdown and logs."""

from __future__ import annotations

import signal
import socket
from functools import partial
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from prometheus_client.multiprocess import mark_process_dead

from taskflow import telemetry
from taskflow.errors import TaskflowError
from taskflow.settings import Settings
from taskflow.web.access.rate_limit import RateLimit
from taskflow.web.app import create_app, resource_modules
from taskflow.web.serving.start_checks import look_at_database, warn_of_short_key

# Longer than routers keep their connections to us (Heroku 90 s, AWS 60 s): who closes first must be the router, or it
# may just be sending a request.
KEEPALIVE_SECONDS = 95
# Platforms kill 30 s after SIGTERM.
GRACEFUL_SECONDS = 25
# A process is restarted when its main loop, which never serves a request itself, has said nothing for so long.
TIMEOUT_SECONDS = 60
BACKLOG = 2048
REQUEST_LINE_BYTES = 8190  # gunicorn's largest


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with its settings made here, and none from files or its own variables."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self.settings = settings
        self.rate_limit = RateLimit(settings.rate_limit)  # here, before the processes are forked that share it
        resource_modules()  # here too: they share the memory, and start sooner
        self._descriptor = listener.detach()  # gunicorn's from now on: it closes it
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in self._options().items():
            if name in self.cfg.settings:  # older versions know fewer
                self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called by gunicorn in every process that serves."""
        return create_app(self.settings, self.rate_limit)

    def _options(self) -> dict[str, Any]:
        return {
            "bind": f"fd://{self._descriptor}",
            "backlog": BACKLOG,
            "worker_class": "taskflow.web.serving.gunicorn_worker.Worker",
            "workers": self.settings.web_processes,
            "threads": self.settings.web_threads + self.settings.max_streams,  # a thread is made when it is needed
            "keepalive": KEEPALIVE_SECONDS,
            "graceful_timeout": GRACEFUL_SECONDS,
            "timeout": TIMEOUT_SECONDS,
            "limit_request_line": REQUEST_LINE_BYTES,
            "logger_class": "taskflow.web.serving.gunicorn_log.Log",
            "proc_name": "taskflow server",
            "control_socket_disable": True,
            "post_worker_init": partial(look_at_database, dsn=self.settings.database_url),
            "child_exit": _forget,
        }


def serve(settings: Settings) -> None:
    """Serve until a signal says otherwise. Raises `TaskflowError` if the address cannot be listened on."""
    signal.signal(signal.SIGTERM, _end_before_the_start)
    telemetry.configure(settings)
    listener = listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    telemetry.get_logger("server").info(
        "server_started",
        url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
        auth=settings.auth,
        processes=settings.web_processes,
        threads=settings.web_threads,
        database_connections_at_most=settings.web_processes * (settings.web_connections + 1),  # one for events
    )
    warn_of_short_key(settings)
    Server(settings, listener).run()


def _end_before_the_start(*_: object) -> None:
    """Nothing is served yet: end as orderly as later. gunicorn replaces this handler by its own."""
    raise SystemExit(0)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to the address; here and not in gunicorn, for one clear line when it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)  # from now on nobody is turned away: what connects early waits for the processes
    except OSError as error:
        raise TaskflowError(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}. Choose another with --port or PORT."
        ) from error
    return listener


def _forget(_server: object, worker: Any) -> None:
    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
