"""Removing what has ended in a queue that keeps it for a shorter time than the system does."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from taskflow.errors import LONGEST_SECONDS
from taskflow.store.connection import repeat_on_conflict

BATCH = 1000
# The oldest day of completed tasks may be long ago, with nothing in between: begin where there is something.
# From `tasks`, which every role that comes here may read, and not the partitions; the state leads to the same indexes.
# SQL may have written any number: from a hundred years on they are all the same, and it stays a date to subtract from.
KEPT = f"""
    SELECT q.name, r.key, least(r.value::numeric, {LONGEST_SECONDS:.0f})::double precision,
           CASE r.key
               WHEN 'completed' THEN (SELECT min(t.finished_at) FROM taskflow.tasks t WHERE t.state = 'completed')
               WHEN 'dead_letter' THEN (SELECT min(t.finished_at) FROM taskflow.tasks t WHERE t.state = 'dead_letter')
               ELSE (SELECT min(t.finished_at) FROM taskflow.tasks t WHERE t.state IN ('failed', 'cancelled'))
           END
    FROM taskflow.queues q CROSS JOIN LATERAL jsonb_each_text(q.retention) r WHERE q.retention <> '{{}}'
"""


class Kept(NamedTuple):
    """A queue keeps what ended in a state for so many seconds, a hundred years at most; `oldest`: the first that is
    there, of any queue."""

    queue: str
    state: str
    seconds: float
    oldest: datetime | None


def kept(connection: psycopg.Connection[Any]) -> list[Kept]:
    """All that queues say about it."""
    return [Kept._make(row) for row in connection.execute(KEPT)]


def forget(connection: psycopg.Connection[Any], what: Kept, since: datetime, until: datetime) -> int:
    """Remove a batch of what ended from `since` until before `until`; fewer than `BATCH` were the last of them."""

    def statement() -> int:
        row = connection.execute(
            "SELECT taskflow.forget_ended(%s, %s, %s, %s, %s)", (what.queue, what.state, since, until, BATCH)
        ).fetchone()
        return int(row[0]) if row else 0

    return repeat_on_conflict(statement)
