"""A task as the client shows it, and a task as a worker claims it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Literal, NamedTuple, get_args


class Priority(IntEnum):
    """The four levels: LOW (0), NORMAL (1), HIGH (2), CRITICAL (3). A plain int 0..3 or the lower-case name, such as
    "high", does everywhere as well."""

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
    """A task as it was when it was read; times are UTC.

    - `id`: the task's id.
    - `type`: its type.
    - `queue`: the queue it waits in, or was taken from.
    - `payload`: the payload as it is stored.
    - `priority`: its priority.
    - `state`: "pending", "scheduled" (its `run_at` lies ahead), "blocked" (by its concurrency key), "retrying",
      "running", and at the end "completed", "cancelled", "failed" or "dead_letter".
    - `attempt`: the number of the latest attempt, 0 before the first one.
    - `failures`: how many attempts were charged as failures.
    - `max_attempts`: how many failures end it, be that said by the task, its type or its queue.
    - `timeout`: how many seconds an attempt may run, said by whichever of them.
    - `progress`: percent, 0 to 100, as the handler has reported it.
    - `progress_message`: the text beside it.
    - `result`: what the handler has returned.
    - `error`: what its latest attempt has said, if that did not succeed.
    - `metadata`: what the producer gave along with the payload.
    - `tags`: its tags.
    - `unique_key`: its unique key.
    - `concurrency_key`: its concurrency key.
    - `worker_id`: the worker that runs it.
    - `created_at`: when it was created.
    - `created_by`: the database login that has created it.
    - `updated_at`: when it was changed last.
    - `run_at`: when it is due, or was.
    - `started_at`: when the latest attempt began.
    - `finished_at`: when it ended.
    - `cancel_requested`: whether somebody has cancelled it while it runs.
    - `schedule_id`: the schedule that has created it.
    - `version`: raised by every change; the `ETag` of the REST API.
    """

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
