"""An attempt as the audit trail shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Execution:
    """A row of the view `taskflow.task_executions`.

    `status` is started (it runs now), succeeded, failed, timed_out, lost, cancelled or snoozed. `logs` are the entries
    of `Context.log`: objects with `at`, `level`, `message` and whatever fields were given.
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
