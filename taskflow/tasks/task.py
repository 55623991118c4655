"""A task as the client shows it, and a task as a worker claims it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, NamedTuple, get_args


class Priority(IntEnum):
    """The four levels; a plain int 0..3 or the lower-case name does everywhere as well."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3


PRIORITY_NAMES = {int(priority): priority.name.lower() for priority in Priority}
State = Literal[
    "pending", "scheduled", "blocked", "retrying", "running", "completed", "failed", "cancelled", "dead_letter"
]
"""The states that people see; `scheduled` is stored as pending."""
STATES: tuple[str, ...] = get_args(State)
WAITING_STATES = ("pending", "scheduled", "blocked", "retrying")
FINISHED_STATES = frozenset({"completed", "cancelled", "failed", "dead_letter"})


@dataclass(frozen=True, slots=True)
class Task:
    """A row of the view `taskflow.task_list`. `state` is the derived one (`scheduled` is possible)."""

    id: int
    type: str
    queue: str
    payload: dict[str, Any]
    priority: Priority
    state: str
    attempt: int
    failures: int
    max_attempts: int
    timeout: float
    progress: int | None
    progress_message: str | None
    result: Any
    error: str | None
    metadata: dict[str, Any]
    tags: list[str]
    unique_key: str | None
    concurrency_key: str | None
    worker_id: int | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested: bool
    schedule_id: int | None
    version: int

    @property
    def finished(self) -> bool:
        """Whether the task has ended: completed, cancelled, failed or dead_letter."""
        return self.state in FINISHED_STATES


class ClaimedTask(NamedTuple):
    """A row of `taskflow.claim_tasks()`, in its column order: what a handler needs and nothing more.

    A named tuple because one is made for every task on the hot path: it costs a third of a dataclass.
    """

    id: int
    attempt: int
    type: str
    queue: str
    priority: int
    run_at: datetime
    payload: dict[str, Any]
    metadata: dict[str, Any] | None
    timeout: float | None
    losses: int
