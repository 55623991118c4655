"""What is answered about workers and about the types that they can run."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from taskflow.web.models.base import Answer


class RunningTask(Answer):
    """A task that a worker has."""

    id: str
    type: str
    since: datetime = Field(description="when its handler began, as far as the worker has told; until then its claim")


class Worker(Answer):
    """A worker process."""

    id: str
    state: Literal["idle", "busy", "paused", "draining"]
    hostname: str
    pid: int
    queues: list[str] | None = Field(description="null: every queue")
    types: list[str]
    concurrency: int
    active_tasks: int
    running: list[RunningTask] = Field(description="the oldest first, at most 100")
    started_at: datetime
    last_heartbeat: datetime
    version: str


class Workers(Answer):
    """GET /workers."""

    workers: list[Worker]
    count: int
    next_cursor: str | None


class WorkerChanged(Answer):
    """What was done about a worker."""

    message: Literal["worker paused", "worker resumed", "worker draining"]
    worker_id: str


class WorkerPaused(WorkerChanged):
    """POST /workers/{id}/pause."""

    message: Literal["worker paused"]


class WorkerResumed(WorkerChanged):
    """POST /workers/{id}/resume."""

    message: Literal["worker resumed"]


class WorkerDraining(WorkerChanged):
    """POST /workers/{id}/drain."""

    message: Literal["worker draining"]


class RegisteredType(Answer):
    """A task type, as workers have registered it. Null: they leave it to the queue."""

    type: str
    description: str | None
    payload_schema: Any = Field(alias="schema", description="the JSON schema of the payload; null: any object")
    queue: str | None
    priority: str | None
    max_attempts: int | None
    timeout: float | None
    retry_strategy: Literal["fixed", "linear", "exponential"] | None
    retry_delay: float | None
    max_retry_delay: float | None
    first_seen: datetime
    last_seen: datetime
    workers: list[str] = Field(description="the ids of those that can run it now")


class RegisteredTypes(Answer):
    """GET /types."""

    types: list[RegisteredType]
    count: int
    next_cursor: str | None
