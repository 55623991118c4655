"""Filling the queue and reading from the audit how it was emptied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]


RECORD = """
    WITH ended AS (SELECT outcome, finished_at FROM taskflow.executions WHERE task_id BETWEEN %s AND %s),
         half AS (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY finished_at) AS at FROM ended)
    SELECT count(*), count(*) FILTER (WHERE outcome = 'succeeded'), max(finished_at), max(half.at),
           count(*) FILTER (WHERE finished_at <= half.at)
    FROM ended, half
"""


@dataclass(frozen=True, slots=True)
class Span:
    """The ids of one load, first and last included."""

    first: int
    last: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1


def copy_tasks(connection: Connection, payloads: Iterable[str], type_: str = "bench.noop") -> Span:
    """COPY one task a payload (JSON text) into an otherwise empty queue, in one statement."""
    with connection.cursor() as cursor:
        with cursor.copy("COPY taskflow.tasks (type, payload) FROM STDIN") as copy:
            for payload in payloads:
                copy.write_row((type_, payload))
        row = cursor.execute("SELECT min(id), max(id) FROM taskflow.tasks_live").fetchone()
    if row is None or row[0] is None:
        raise ValueError("no payloads: there is nothing to measure")
    return Span(*row)


def numbered(tasks: int, filling: str = "") -> Iterable[str]:
    """Small payloads, all different; `filling` is one more JSON member with a comma before it."""
    return (f'{{"n": {n}{filling}}}' for n in range(tasks))


def settle(connection: Connection) -> None:
    """Statistics, visibility map and a checkpoint, so that none of them falls into the measurement."""
    connection.execute("VACUUM ANALYZE taskflow.tasks_live")
    connection.execute("CHECKPOINT")


def running(connection: Connection) -> int:
    """How many tasks are claimed now."""
    row = connection.execute("SELECT count(*) FROM taskflow.tasks_live WHERE state = 'running'").fetchone()
    return int(row[0]) if row else 0


def is_last_finished(connection: Connection, span: Span) -> bool:
    """Whether the task with the highest id has an audit row: cheap to ask, and nearly the end."""
    return _exists(connection, "SELECT FROM taskflow.executions WHERE task_id = %s", span.last)


def is_all_finished(connection: Connection, span: Span) -> bool:
    """Whether every task of the span has an audit row."""
    row = connection.execute(
        "SELECT count(*) FROM taskflow.executions WHERE task_id BETWEEN %s AND %s", (span.first, span.last)
    ).fetchone()
    return row is not None and row[0] >= span.count


@dataclass(frozen=True, slots=True)
class Record:
    """What the audit says of a span: when all were finished, when half of them, and how many exactly were by then."""

    finished: datetime
    half_finished: datetime
    first_half: int


def read_record(connection: Connection, span: Span) -> Record:
    """Read the audit of a span that is finished."""
    row = connection.execute(RECORD, (span.first, span.last)).fetchone()
    if row is None or row[0] != span.count or row[1] != span.count:
        raise RuntimeError(
            f"{span.count} tasks were to succeed at once, the audit has (attempts, successes, ...) {row}"
        )
    return Record(*row[2:])


def results(connection: Connection, span: Span) -> list[Any]:
    """The results of a span's completed tasks, in the order of their ids."""
    rows = connection.execute(
        "SELECT result FROM taskflow.tasks WHERE id BETWEEN %s AND %s AND state = 'completed' ORDER BY id",
        (span.first, span.last),
    )
    return [row[0] for row in rows]


def _exists(connection: Connection, query: str, *arguments: Any) -> bool:
    row = connection.execute(f"SELECT EXISTS ({query})", arguments, prepare=True).fetchone()
    return row is not None and bool(row[0])
