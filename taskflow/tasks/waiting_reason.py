"""Why a task is not running: the first of the things between it and a worker, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from taskflow.tasks.task import FINISHED_STATES

MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class WaitingFacts:
    """A row of `taskflow.waiting_facts()`: `workers_of_queue` serve the queue, `workers_of_type` know the type besides,
    `workers_running` are neither paused nor draining besides; `free_slots` and `ahead` are of these and before it."""

    id: int
    type: str
    queue: str
    state: str
    run_at: datetime
    worker_id: int | None
    cancel_requested: bool
    attempt: int
    error: str | None
    concurrency_key: str | None
    queue_paused: bool
    workers: int
    workers_of_queue: int
    workers_of_type: int
    workers_running: int
    free_slots: int
    ahead: int


@dataclass(frozen=True, slots=True)
class WaitingLimit:
    """A row of `taskflow.waiting_limits()`: a limit of the queue that is reached."""

    code: str
    most: int | None
    next_at: datetime | None


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """`code` is a stable word; `reason` and `fix` are sentences for people; `fix` None: nothing needs to be done."""

    code: str
    reason: str
    fix: str | None


def waiting_reason(task: WaitingFacts, limit: WaitingLimit | None = None) -> WaitingReason:
    """The first reason that holds."""
    if task.state in FINISHED_STATES:
        return _ended(task)
    if task.state == "running":
        return _running(task)
    if task.state == "blocked" and limit is not None and limit.code == "key_limit":
        return _limited(task, limit)
    return _not_ready(task) or _no_worker(task) or (_limited(task, limit) if limit else _in_line(task))


def _ended(task: WaitingFacts) -> WaitingReason:
    again = f"To run it again, retry it: POST /api/v1/tasks/{task.id}/retry."
    if task.state == "completed":
        return WaitingReason("completed", f"It has completed, at attempt {task.attempt}.", None)
    if task.state == "cancelled":
        return WaitingReason("cancelled", "It was cancelled.", again)
    error = f": {task.error.splitlines()[0][:200]}" if task.error else ""
    return WaitingReason(task.state, f"It failed for good, at attempt {task.attempt}{error}.", again)


def _running(task: WaitingFacts) -> WaitingReason:
    if task.cancel_requested:
        return WaitingReason(
            "cancel_requested",
            f"Worker {task.worker_id} runs it and has been asked to stop it.",
            "Wait for its handler.",
        )
    return WaitingReason("running", f"It is running, on worker {task.worker_id}, attempt {task.attempt}.", None)


def _not_ready(task: WaitingFacts) -> WaitingReason | None:
    due = task.run_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    sooner = f"To run it now, give it another time: PATCH /api/v1/tasks/{task.id} with scheduled_at."
    match task.state:
        case "blocked":
            return WaitingReason(
                "blocked", "It waits for other tasks to end.", "Wait for them, or cancel what holds it up."
            )
        case "scheduled":
            return WaitingReason("scheduled", f"Its time has not come: it is due at {due}.", sooner)
        case "retrying":
            return WaitingReason(
                "retrying", f"Attempt {task.attempt} failed, and the next one is due at {due}.", sooner
            )
    if task.queue_paused:
        return WaitingReason(
            "queue_paused",
            f"The queue {task.queue!r} is paused.",
            f"Resume it: POST /api/v1/queues/{task.queue}/resume.",
        )
    return None


def _no_worker(task: WaitingFacts) -> WaitingReason | None:
    if not task.workers:
        return WaitingReason("no_worker", "No worker is alive.", "Start one: taskflow worker.")
    if not task.workers_of_queue:
        return WaitingReason(
            "no_worker_for_queue",
            f"No worker that is alive serves the queue {task.queue!r}.",
            f"Start one that does: taskflow worker --queues {task.queue}; without --queues it serves all.",
        )
    if not task.workers_of_type:
        return WaitingReason(
            "no_worker_for_type",
            f"No worker that serves the queue {task.queue!r} knows the type {task.type!r}.",
            "Start a worker that imports the handler of this type. If the type is misspelled, cancel the task and"
            " create it anew.",
        )
    if not task.workers_running:
        return WaitingReason(
            "workers_paused",
            "Every worker that could take it is paused or draining.",
            "Resume one: POST /api/v1/workers/{id}/resume.",
        )
    return None


def _limited(task: WaitingFacts, limit: WaitingLimit) -> WaitingReason:
    queue = f"PATCH /api/v1/queues/{task.queue}"
    next_at = f"; the next may at {limit.next_at:%H:%M:%S UTC}" if limit.next_at else ""
    match limit.code:
        case "type_paused":
            reason = f"The type {task.type!r} is paused in the queue {task.queue!r}."
            fix = f"Resume it: {queue} with type_limits."
        case "key_limit":
            reason = (
                f"As many tasks of the queue {task.queue!r} with the concurrency key {task.concurrency_key!r} run as "
                f"may at once, {limit.most:,}."
            )
            fix = f"Wait for one to end, or raise the limit: {queue} with key_limit."
        case "max_workers":
            reason = f"No more than {limit.most:,} tasks of the queue {task.queue!r} run at once, and as many do."
            fix = f"Wait for one to end, or raise the limit: {queue} with max_workers."
        case "rate_limit":
            reason = (
                f"As many tasks of the queue {task.queue!r} have started as may in its period, {limit.most:,}{next_at}."
            )
            fix = f"Wait, or raise the limit: {queue} with rate_limit."
        case _:
            reason = (
                f"As many tasks of the type {task.type!r} have started in the queue {task.queue!r} as may in its "
                f"period, {limit.most:,}{next_at}."
            )
            fix = f"Wait, or raise the limit: {queue} with type_limits."
    return WaitingReason(limit.code, reason, fix)


def _in_line(task: WaitingFacts) -> WaitingReason:
    if task.ahead:
        count = f"{task.ahead:,}" if task.ahead < MOST_COUNTED else f"At least {MOST_COUNTED:,}"
        tasks = "task of its queue comes" if task.ahead == 1 else "tasks of its queue come"
        return WaitingReason(
            "waiting_its_turn", f"{count} {tasks} first.", "Wait, start more workers, or give it a higher priority."
        )
    if not task.free_slots:
        return WaitingReason("workers_busy", "Every worker that could take it is busy.", "Wait, or start more workers.")
    return WaitingReason("next", "It is the next one: a worker is about to take it.", None)
