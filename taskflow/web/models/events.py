"""What clients say about the events that they want."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from taskflow.web.models.base import Answer, Body, Query, QueueName

Pattern = "a name such as `task.completed`, or a pattern such as `worker.*`"


class EventsQuery(Query):
    """Which events; without any of these all that the key may see."""

    events: list[str] | None = Field(
        None, max_length=50, description=f"each {Pattern}; several separated by commas, or given several times"
    )
    task_id: str | None = Field(None, pattern=r"^[1-9][0-9]{0,18}$", description="only those of this task")
    queue: QueueName | None = Field(None, description="only those of tasks of this queue, and its depth")
    ticket: str | None = Field(None, max_length=200, description="instead of a key, see POST /api/v1/events/ticket")
    last_event_id: str | None = Field(
        None, max_length=100, description="as the header Last-Event-ID, for clients that cannot set one"
    )


class Ticket(Answer):
    """Valid for a minute, for as many streams as are opened in it."""

    ticket: str
    expires_at: datetime


class Wish(Body):
    """What a client sends over the WebSocket."""

    action: Literal["subscribe", "unsubscribe"]
    events: list[str] | None = Field(None, max_length=50)
    event_types: list[str] | None = Field(None, max_length=50)
