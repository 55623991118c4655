"""What the leader's tests share: a clock set by hand, history in the past, workers that claim and fall silent."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

Connection = psycopg.Connection[Any]


class ManualClock:
    """A monotonic clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Database:
    """The test's database, with short words for what the tests do to it."""

    def __init__(self, connection: Connection, dsn: str) -> None:
        self.connection = connection
        self.dsn = dsn

    def one(self, statement: str, *parameters: object) -> Any:
        row = self.connection.execute(statement, parameters).fetchone()
        return row[0] if row and len(row) == 1 else row

    def all(self, statement: str, *parameters: object) -> list[Any]:
        return [row[0] if len(row) == 1 else row for row in self.connection.execute(statement, parameters)]

    def connect(self) -> Connection:
        return psycopg.connect(self.dsn, autocommit=True)

    def enqueue(self, count: int = 1) -> list[int]:
        return self.all(
            "SELECT id FROM taskflow.enqueue_many((SELECT jsonb_agg(jsonb_build_object('type', 't'))"
            " FROM generate_series(1, %s)))",
            count,
        )

    def register(self) -> int:
        return int(self.one("SELECT taskflow.register_worker('host', 1, NULL, '{t}', 10, 'test')"))

    def claim(self, worker: int, count: int) -> list[tuple[int, int]]:
        return self.all(
            "SELECT id, attempt FROM taskflow.claim_tasks(%s, '{default}', '{t}', %s,"
            " array_fill('-infinity'::timestamptz, '{4}'), array_fill(0, '{4}'))",
            worker,
            count,
        )

    def complete(self, worker: int, tasks: list[tuple[int, int]]) -> list[Any]:
        ids, attempts = [item[0] for item in tasks], [item[1] for item in tasks]
        return self.all(
            "SELECT id, state FROM taskflow.complete_tasks(%s, %s, %s, %s, NULL)",
            worker,
            ids,
            attempts,
            [0.0] * len(ids),
        )

    def beat(self, worker: int) -> bool:
        return bool(self.one("SELECT known FROM taskflow.heartbeat(%s, 0, '{}', '{}', '{}')", worker))

    def make_day(self, parent: str, day: date) -> str:
        """A partition of the past, as `ensure_days` would have made it then."""
        name = f"{parent}_{day:%Y%m%d}"
        key = "" if parent == "executions" else ", PRIMARY KEY (id)"
        self.connection.execute(f"CREATE TABLE taskflow.{name} (LIKE taskflow.{parent} INCLUDING DEFAULTS{key})")
        self.connection.execute(
            sql.SQL("ALTER TABLE {} ATTACH PARTITION {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier("taskflow", parent),
                sql.Identifier("taskflow", name),
                f"{day}T00:00:00Z",
                f"{day + timedelta(days=1)}T00:00:00Z",
            )
        )
        return name

    def add_task(self, state: str, finished: datetime | None = None) -> int:
        return int(
            self.one(
                "INSERT INTO taskflow.tasks (type, state, finished_at) VALUES ('t', %s, %s) RETURNING id",
                state,
                finished,
            )
        )

    def add_execution(self, task: int, finished: datetime, attempt: int = 1, **columns: Any) -> None:
        values = {"outcome": "succeeded", "queue": "default", "type": "t", "started_at": finished, **columns}
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        self.connection.execute(
            sql.SQL("INSERT INTO taskflow.executions (task_id, finished_at, attempt, {}) VALUES ({})").format(
                names, sql.SQL(", ").join(sql.Placeholder() * (len(values) + 3))
            ),
            (task, finished, attempt, *values.values()),
        )

    def exists(self, table: str) -> bool:
        return bool(self.one("SELECT to_regclass('taskflow.' || %s) IS NOT NULL", table))


@pytest.fixture
def database(connection: Connection, dsn: str) -> Database:
    return Database(connection, dsn)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def days_ago(days: int) -> datetime:
    """Noon of that day, UTC."""
    return datetime.combine(datetime.now(UTC).date() - timedelta(days=days), datetime.min.time(), UTC) + timedelta(
        hours=12
    )


def wait_until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Ask until the answer is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, "this has not come true in time"
        time.sleep(0.02)
    return answer
