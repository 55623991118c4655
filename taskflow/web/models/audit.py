"""The audit log in requests and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from taskflow.web.models.base import Answer, Page, TimeField


class AuditQuery(Page):
    """GET /audit."""

    actor: str | None = Field(None, max_length=300, description="who: the name of a key as the log has it")
    action: str | None = Field(
        None, max_length=100, description="what, as `queue.pause`; `queue.*` is all about queues"
    )
    target: str | None = Field(None, max_length=300, description="to what: a name or an id")
    created_after: TimeField = None
    created_before: TimeField = None


class AuditEntry(Answer):
    """A change that an operator has made."""

    id: str
    at: datetime
    actor: str
    action: str
    target: str | None
    details: dict[str, Any]


class AuditEntries(Answer):
    """GET /audit."""

    entries: list[AuditEntry]
    count: int
    next_cursor: str | None
