"""The schedules as the leader and the workers deal with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import psycopg

from taskflow.schedules import Timing
from taskflow.schedules.missed import Missed
from taskflow.store.arrays import numbers, texts
from taskflow.store.resources import query

Connection = psycopg.Connection[Any]

CHANGED = "taskflow_schedules"


class Schedule(NamedTuple):
    """A schedule as it was read: `version` and `run_count` tell whether it still is. `due` None: nobody knows yet when
    it fires next. `alone`: it leaves out a fire time while a task of the one before lives. `jitter` is in seconds."""

    id: int
    name: str
    version: int
    run_count: int
    due: datetime | None
    timing: Timing
    missed: Missed
    alone: bool
    jitter: float


class Firing(NamedTuple):
    """What to do about a schedule: create a task for each of `fires`, to be run at the time of `run_at` with the same
    index, and wait for `next` then (None: it has ended)."""

    schedule: Schedule
    fires: Sequence[datetime]
    run_at: Sequence[datetime]
    next: datetime | None


class Fired(NamedTuple):
    """What was done about a schedule: its next time, how often it has run in all, tasks created, fire times left
    out."""

    next: datetime | None
    run_count: int
    fired: int
    skipped: int


def listen(connection: Connection) -> None:
    """Be notified on this connection when a schedule was created or changed."""
    connection.execute(f"LISTEN {CHANGED}")


def read_due(
    connection: Connection, *, ahead_seconds: float, limit: int, after: Schedule | None = None
) -> tuple[datetime | None, list[Schedule]]:
    """A page of the enabled schedules whose time comes within `ahead_seconds`, in the order of their times, and the
    database's time (None if the page is empty). The first page has those too whose time is not known, as its first.
    """
    place = {"time": after.due if after else None, "id": after.id if after else 0}
    parameters = {"ahead": ahead_seconds, "limit": limit, **place}
    rows = connection.execute(query("due_schedules"), parameters).fetchall()
    return (rows[0][0] if rows else None), [_schedule(row) for row in rows]


def fire(connection: Connection, firings: Sequence[Firing]) -> dict[int, Fired]:
    """Fire schedules in one statement; id → what was done. One that is missing was changed since it was read, or
    another leader is at it: nothing was done about it."""
    firings = sorted(firings, key=lambda firing: firing.schedule.id)
    schedules = [firing.schedule for firing in firings]
    fires = [
        (firing.schedule.id, fire_at, run_at)
        for firing in firings
        for fire_at, run_at in zip(firing.fires, firing.run_at, strict=True)
    ]
    parameters = (
        numbers([schedule.id for schedule in schedules]),
        numbers([schedule.version for schedule in schedules]),
        numbers([schedule.run_count for schedule in schedules]),
        _times(schedule.due for schedule in schedules),
        _times(firing.next for firing in firings),
        numbers([item[0] for item in fires]),
        _times(item[1] for item in fires),
        _times(item[2] for item in fires),
    )
    rows = connection.execute(query("fire_schedules"), parameters)
    return {row[0]: Fired(*row[1:]) for row in rows}


def forget_runs(connection: Connection, limit: int) -> int:
    """Remove old rows of `taskflow.schedule_runs`; fewer than `limit` means that nothing is left to do."""
    row = connection.execute("SELECT taskflow.forget_schedule_runs(%s)", (limit,)).fetchone()
    assert row is not None
    return int(row[0])


def sync(connection: Connection, schedules: Sequence[dict[str, Any]], types: Sequence[str]) -> list[tuple[str, str]]:
    """Write the schedules that code defines, dicts with columns of `taskflow.schedules`, for a worker that serves
    `types`.

    Returns what was done, as (name, "created" | "changed" | "removed" | "taken"); nothing for what is as it was.
    """
    rows = connection.execute(query("sync_schedules"), (orjson.dumps(list(schedules)).decode(), texts(types)))
    return [(name, what) for name, what in rows]


def _schedule(row: tuple[Any, ...]) -> Schedule:
    _, id_, name, version, run_count, due, missed, alone, jitter, *timing = row
    return Schedule(id_, name, version, run_count, due, Timing(*timing), missed, alone, jitter)


def _times(times: Any) -> str:
    """An array of times in PostgreSQL's writing; None is infinity, since an array with NULLs is slow to look into."""
    return texts("infinity" if time is None else time.astimezone(UTC).isoformat() for time in times)
