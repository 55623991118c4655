"""The fixtures for pytest, found by it wherever taskflow is installed; `-p no:taskflow.testing.plugin` leaves them out.

- `taskflow`: a `Harness` on a database of this test alone; handlers and `Client()` use that database meanwhile
- `taskflow_client`: its client
- `taskflow_dsn`: the database as a connection string; override it to bring one of your own that has the schema
- `taskflow_prepare`: override it with a function that makes your own tables: it is called with the connection string
  of the template, once a session

Every run of pytest imports this module, so what it needs is imported by the fixtures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskflow.client import Client
    from taskflow.testing.databases import Databases
    from taskflow.testing.harnesses import Harness


@pytest.fixture(scope="session")
def taskflow_prepare() -> Callable[[str], object] | None:
    """Override this with a session fixture that returns a function: it is given the template's connection string."""
    return None


@pytest.fixture(scope="session")
def _taskflow_databases() -> Iterator[Databases]:
    from taskflow.testing import databases

    yield databases.shared()
    databases.close_shared()


@pytest.fixture
def taskflow_dsn(_taskflow_databases: Databases, taskflow_prepare: Callable[[str], object] | None) -> Iterator[str]:
    """The connection string of a database with taskflow's schema, which no other test sees."""
    with _taskflow_databases.database(taskflow_prepare) as dsn:
        yield dsn


@pytest.fixture(name="taskflow")
def _taskflow(taskflow_dsn: str) -> Iterator[Harness]:
    """A `taskflow.testing.Harness` on this test's database: runs its tasks, says what was enqueued."""
    from taskflow.testing.harnesses import Harness

    with Harness(taskflow_dsn) as harness:
        yield harness


@pytest.fixture
def taskflow_client(taskflow: Harness) -> Client:
    """A client of this test's database."""
    return taskflow.client
