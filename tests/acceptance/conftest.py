"""Fixtures over tests/acceptance/support.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.streams import Client
from tests.acceptance.support import Gate, Process, Processes, Server

# Coverage makes the start of a process half as long again: it is measured where one does what no other test does. Not
# where handlers fork: coverage handles SIGTERM in what multiprocessing forks, and a fork that gets it early may hang.
MEASURED = {
    "test_ending",
    "test_event_keys",
    "test_events",
    "test_events_of_tasks",
    "test_limits",
    "test_pgbouncer",
    "test_schedules",
    "test_support",
    "test_worker_control",
}


@pytest.fixture
def processes(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """The processes of this test; none outlives it."""
    own = Processes(tmp_path, measured=request.path.stem in MEASURED)
    yield own
    own.close()


@pytest.fixture(scope="module")
def shared_processes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Processes]:
    """Processes for all tests of a file."""
    own = Processes(tmp_path_factory.mktemp("processes"), measured=request.path.stem in MEASURED)
    yield own
    own.close()


@pytest.fixture
def start_worker(processes: Processes) -> Callable[..., Process]:
    """`start_worker(dsn, "--queues", "mail", env={...})`, see `Processes.start_worker`."""
    return processes.start_worker


@pytest.fixture
def start_server(processes: Processes) -> Callable[..., Server]:
    """`start_server(dsn).url`, see `Processes.start_server`."""
    return processes.start_server


@pytest.fixture
def wait_until(processes: Processes) -> Callable[..., object]:
    """`wait_until(lambda: ..., timeout=30)`, see `Processes.wait_until`; a failure shows the logs of all processes."""
    return processes.wait_until


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that holds tasks of the types `blocking` and `async_wait` until `gate.open()`."""
    closed = Gate(tmp_path)
    yield closed
    closed.open()


@pytest.fixture
def open_stream() -> Iterator[Callable[..., Any]]:
    """`open_stream(WsClient, url, query)`, closed at the end."""
    opened: list[Client] = []

    def make(kind: type[Client], *args: Any, **more: Any) -> Any:
        opened.append(kind(*args, **more))
        return opened[-1]

    yield make
    for client in opened:
        client.close()  # type: ignore[attr-defined]
