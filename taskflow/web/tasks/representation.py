"""A task and an execution as every endpoint answers them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from taskflow.tasks.task import PRIORITY_NAMES
from taskflow.web.access.redaction import Redaction
from taskflow.web.http.encoding import utc


def task_body(row: Mapping[str, Any], redaction: Redaction | None) -> dict[str, Any]:
    """A row of `task_list` as JSON. `redaction` None: to somebody who may see secrets."""
    hide = redaction or _shown
    task_id = str(row["id"])
    state = row["state"]
    attempt = row["attempt"]
    return {
        "id": task_id,
        "type": row["type"],
        "queue": row["queue"],
        "payload": hide(row["payload"]),
        "priority": PRIORITY_NAMES.get(row["priority"], str(row["priority"])),
        "priority_value": row["priority"],
        "state": state,
        "attempt": attempt,
        "failures": row["failures"],
        "max_attempts": row["max_attempts"],
        "max_retries": row["max_attempts"] - 1,
        "timeout": row["timeout"],
        "progress": row["progress"],
        "progress_message": row["progress_message"],
        "result": hide(row["result"]),
        "error": row["error"],
        "metadata": hide(row["metadata"]),
        "tags": row["tags"],
        "unique_key": row["unique_key"],
        "concurrency_key": row["concurrency_key"],
        "worker_id": _id(row["worker_id"]),
        "created_at": utc(row["created_at"]),
        "created_by": row["created_by"],
        "updated_at": utc(row["updated_at"]),
        "scheduled_at": utc(row["run_at"]),
        "started_at": utc(row["started_at"]),
        "completed_at": utc(row["finished_at"]),
        "next_retry_at": utc(row["run_at"]) if state == "retrying" else None,
        "cancel_requested": row["cancel_requested"],
        "schedule_id": _id(row["schedule_id"]),
        "version": row["version"],
        # Older names, for older clients.
        "task_id": task_id,
        "job_id": task_id,
        "status": state,
        "attempts": attempt,
    }


def execution_body(row: Mapping[str, Any], redaction: Redaction | None) -> dict[str, Any]:
    """A row of `task_executions` as JSON."""
    hide = redaction or _shown
    return {
        "attempt": row["attempt"],
        "status": row["status"],
        "worker_id": _id(row["worker_id"]),
        "started_at": utc(row["started_at"]),
        "finished_at": utc(row["finished_at"]),
        "duration_ms": _duration_ms(row["started_at"], row["finished_at"]),
        "error": row["error"],
        "traceback": row["traceback"],
        "logs": hide(row["logs"]) or [],
    }


def _id(value: int | None) -> str | None:
    return None if value is None else str(value)


def _duration_ms(started_at: datetime, finished_at: datetime | None) -> float | None:
    return None if finished_at is None else round((finished_at - started_at).total_seconds() * 1000, 3)


def _shown(value: Any) -> Any:
    return value
