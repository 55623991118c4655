"""A deployment within the test's own process: a real HTTP server over the test's database and, if wanted, a worker."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from werkzeug.serving import WSGIRequestHandler, make_server

import taskflow.handlers  # noqa: F401  (registers the built-in types)
from taskflow.settings import load
from taskflow.tasks.registry import registry
from taskflow.web import create_app
from taskflow.web.services import EXTENSION
from taskflow.worker import Worker

KEY = "key-of-the-deployment-of-the-tests"


class Deployment(NamedTuple):
    """Where it is, and the admin key that it asks for."""

    url: str
    key: str
    dsn: str


class QuietHandler(WSGIRequestHandler):
    """Keeps connections, and writes nothing down."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_: object) -> None: ...


@contextlib.contextmanager
def deployment(dsn: str, *, worker: bool = True, types: tuple[str, ...] = (), **settings: Any) -> Iterator[Deployment]:
    """Serve until the block ends; `settings` are those of the server, `types` what the worker runs (nothing: all).
    Somebody has the leader's lease."""
    app = create_app(load(**{"database_url": dsn, "auth": "on", "admin_key": KEY, **settings}))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT taskflow.acquire_lease('leader', 'the tests', 600)")
    try:
        with running_worker(dsn, types) if worker else contextlib.nullcontext():
            yield Deployment(f"http://127.0.0.1:{server.server_port}", KEY, dsn)
    finally:
        server.shutdown()
        server.server_close()
        services = app.extensions[EXTENSION]
        services.closing.set()
        services.database.engine.dispose()


@contextlib.contextmanager
def running_worker(dsn: str, types: tuple[str, ...] = ()) -> Iterator[None]:
    """A worker with the built-in types and four slots, which waits for nothing at its end."""
    settings = load(database_url=dsn, concurrency=4, heartbeat_interval=0.2, drain_timeout=0.1, types=types)
    worker = Worker(settings, registry)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(300):
            if connection.execute("SELECT FROM taskflow.workers").fetchone() is not None:
                break
            threading.Event().wait(0.05)
        else:
            raise AssertionError("the worker did not register in time")
    try:
        yield
    finally:
        worker.stop()
        thread.join(20)
        assert not thread.is_alive(), "the worker did not end"
