"""Many tasks at once: counted, and changed request after request until all are, with a bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from taskflow.cli.api import Api
from taskflow.cli.plain import moment
from taskflow.cli.progress import Progress


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done to all tasks that fit a filter. `done`: how that is called afterwards."""

    action: Literal["retry", "cancel", "delete"]
    done: str
    filter: str
    changes: dict[str, Any] = field(default_factory=dict)
    per_second: float | None = None


def counted(api: Api, batch: Batch) -> int:
    """How many tasks it would reach."""
    body = {"filter": batch.filter, "dry_run": True, **batch.changes}
    return int(api.post(f"/tasks/batch/{batch.action}", body)["matched"])


def carry_out(api: Api, batch: Batch, matched: int) -> int:
    """Do it, and return to how many it was done. A request ends after 20 seconds: what is left is the next one's."""
    began = datetime.now(UTC)
    affected = 0
    with Progress(batch.action, matched) as progress:
        while True:
            answer = api.post(f"/tasks/batch/{batch.action}", _body(batch, began, affected))
            affected += answer["affected"]
            progress.advance(answer["affected"])
            if not answer["affected"] or answer["affected"] >= answer["matched"] or affected >= matched:
                return int(affected)


def _body(batch: Batch, began: datetime, affected: int) -> dict[str, Any]:
    body = {"filter": batch.filter, "per_second": batch.per_second, **batch.changes}
    if batch.action == "retry" and batch.per_second is not None and affected:
        # The pace goes on where the request before ended.
        first = moment(batch.changes.get("scheduled_at")) or began
        body["scheduled_at"] = (first + timedelta(seconds=affected / batch.per_second)).isoformat()
    return {name: value for name, value in body.items() if value is not None}
