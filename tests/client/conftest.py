from __future__ import annotations

import pytest

from taskflow import Client


@pytest.fixture
def client(dsn):
    with Client(dsn) as opened:
        yield opened


@pytest.fixture
def count(connection):
    """How many tasks are committed, optionally those of a condition."""

    def counted(condition="true"):
        return connection.execute(f"SELECT count(*) FROM taskflow.tasks WHERE {condition}").fetchone()[0]

    return counted


@pytest.fixture
def end(connection):
    """Let a task end, as a worker would."""

    def ended(task_id, state="completed", result=None):
        connection.execute(
            "UPDATE taskflow.tasks SET state = %s::taskflow.task_state, result = %s::jsonb, finished_at = now() "
            "WHERE id = %s",
            [state, result, task_id],
        )

    return ended
