"""An attempt as the audit trail shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """An attempt of a task; times are UTC.

    - `task_id`: the task's id.
    - `attempt`: its number, from 1.
    - `status`: "started" (it runs now), "succeeded", "failed", "timed_out", "lost", "cancelled" or "snoozed".
    - `worker_id`: the worker that has run it.
    - `started_at`: when it began.
    - `finished_at`: when it ended; None while it runs.
    - `error`: what was wrong, or the reason that was given.
    - `traceback`: of the exception that the handler has raised.
    - `logs`: the entries of `Context.log`: each with `at`, `level`, `message` and whatever fields were given.
    """

    task_id: int
    attempt: int
    status: str
    worker_id: int | None
    started_at: datetime
    finished_at: datetime | None
    error: str | None
    traceback: str | None
    logs: list[dict[str, Any]]
