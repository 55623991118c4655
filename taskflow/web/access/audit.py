"""Who changed what: a row of `audit_log` in the transaction of every change that an operator makes.

Creating tasks is no such change: a task says itself by whom it was created.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Executable, Row, insert

from taskflow.schema import audit_log
from taskflow.web.access.auth import principal
from taskflow.web.services import services

RECORD = insert(audit_log)


def change(
    statement: Executable,
    parameters: Mapping[str, Any],
    *,
    action: str,
    target: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Sequence[Row[Any]]:
    """Run a statement that changes something and returns a row for what it has changed, and record it; where there is
    none, nothing is recorded. `action` is `<resource>.<verb>`, such as `queue.pause`. No secrets in `details`."""
    with services().database.transaction() as connection:
        rows = connection.execute(statement, parameters).all()
        if rows:
            record(connection, action=action, target=target, details=details)
    return rows


def record(
    connection: Connection, *, action: str, target: str | None = None, details: Mapping[str, Any] | None = None
) -> None:
    """Record a change that the open transaction of `connection` makes."""
    row = {"actor": principal().name, "action": action, "target": target, "details": dict(details or {})}
    connection.execute(RECORD, row)
