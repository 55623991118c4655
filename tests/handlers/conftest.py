"""A worker's side of the handlers: parse the payload, make the context, call the function."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any, NoReturn

import pytest

import taskflow.handlers
from taskflow.handlers import _http, _smtp
from taskflow.settings import process_settings
from taskflow.tasks.context import Context
from taskflow.tasks.logs import Logs
from taskflow.tasks.registry import registry
from taskflow.tasks.task import ClaimedTask
from tests.handlers.certificates import Authority
from tests.handlers.receiver import Receiver, start_receiver
from tests.handlers.smtp_server import MailServer, serving

Configure = Callable[..., None]


class RecordingAttempt:
    """Keeps what the handler reports; `cancelled_from` is how many progress reports come before the cancel."""

    def __init__(self, cancelled_from: int | None = None) -> None:
        self.progress: list[tuple[int, str | None]] = []
        self.cancelled_from = cancelled_from
        self.logs = Logs()

    def log(self, entry: bytes) -> None:
        self.logs.add(entry)

    def report_progress(self, percent: int, message: str | None) -> None:
        self.progress.append((percent, message))

    def is_cancelled(self) -> bool:
        return self.cancelled_from is not None and len(self.progress) >= self.cancelled_from

    def open_connection(self) -> NoReturn:
        raise AssertionError("no handler of ours works in the database")

    open_connection_async = open_connection


def make_context(attempt: RecordingAttempt, type: str, number: int = 1) -> Context:
    claimed = ClaimedTask(4711, number, type, "default", 1, datetime.now(UTC), {}, {}, 60.0, 0)
    return Context(claimed, attempt)


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """The handlers read settings and certificates once a process; a test has its own environment."""
    for kept in (process_settings, _smtp._trust, _http._trust):
        kept.cache_clear()
    yield
    for kept in (process_settings, _smtp._trust, _http._trust):
        kept.cache_clear()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def receivers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Receiver]]:
    monkeypatch.setenv("TASKFLOW_WEBHOOK_ALLOW", "127.0.0.0/8")
    started: list[tuple[Receiver, ThreadingHTTPServer]] = []

    def start() -> Receiver:
        started.append(start_receiver())
        return started[-1][0]

    yield start
    for receiver, server in started:
        receiver.release.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def receiver(receivers: Callable[[], Receiver]) -> Receiver:
    return receivers()


@pytest.fixture
def context_of() -> Callable[..., Context]:
    return make_context


@pytest.fixture
def attempt() -> RecordingAttempt:
    return RecordingAttempt()


@pytest.fixture
def run(attempt: RecordingAttempt) -> Callable[..., Any]:
    """Run a handler as a worker does: ``run("echo", {...}, number=2)``."""

    def run(type: str, payload: dict[str, Any], *, number: int = 1) -> Any:
        handler = taskflow.handlers and registry.get(type)
        process_settings.cache_clear()  # each run is one of a process of its own, with its environment
        arguments = [handler.parse(payload)]
        if handler.wants_context:
            arguments.append(make_context(attempt, type, number))
        result = handler.function(*arguments)
        return asyncio.run(result) if handler.is_async else result

    return run


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Set the environment of the worker."""

    def configure(server: MailServer | None = None, **settings: str) -> None:
        base = {"EMAIL_FROM": "Shop <shop@example.com>"}
        if server is not None:
            base |= {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": str(server.port), "SMTP_TLS": "off", "SMTP_TIMEOUT": "5"}
        for name, value in (base | settings).items():
            monkeypatch.setenv(f"TASKFLOW_{name}", value)

    return configure


@pytest.fixture
def server(configure: Configure) -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        configure(server)
        yield server
