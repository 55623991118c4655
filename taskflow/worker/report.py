"""One line in the log for an attempt that did not succeed; for a success only at level debug."""

from __future__ import annotations

from collections.abc import Sequence

from structlog.typing import FilteringBoundLogger

from taskflow.store.tasks import Ended
from taskflow.tasks.outcome import Cancelled, Failed, Snoozed, Succeeded, TimedOut
from taskflow.worker.ending import Ending


def report(log: FilteringBoundLogger, group: Sequence[Ending], ended: Sequence[Ended], *, repeated: bool) -> None:
    """Log what became of a batch. `repeated`: the connection was lost while the same batch was written before, so that
    a refusal most likely means that it had been stored then."""
    if log.is_enabled_for(10):
        for item in group:
            if isinstance(item.outcome, Succeeded):
                log.debug("attempt_succeeded", **_fields(item))
    if not ended:
        return
    items = {(item.attempt.task.id, item.attempt.task.attempt): item for item in group}
    for row in ended:
        item = items[row.id, row.attempt]
        if row.state is None:
            if repeated:
                log.info("completion_already_stored", **_fields(item))
            else:
                log.warning(
                    "completion_refused",
                    why="the task was rescued or ended by somebody else meanwhile",
                    **_fields(item),
                )
            continue
        event, error = _event(item)
        next_run = row.run_at.isoformat() if row.run_at and row.state in ("pending", "retrying") else None
        level = log.warning if row.state in ("dead_letter", "failed") else log.info  # somebody has to look at those
        level(event, state=row.state, error=error, next_run_at=next_run, **_fields(item))


def _event(item: Ending) -> tuple[str, str | None]:
    match item.outcome:
        case Failed(error=error):
            return "attempt_failed", error
        case TimedOut(error=error):
            return "attempt_timed_out", error
        case Snoozed(reason=reason):
            return "attempt_snoozed", reason
        case Cancelled(reason=reason):
            return "attempt_cancelled", reason
    return "attempt_given_back", None


def _fields(item: Ending) -> dict[str, object]:
    attempt = item.attempt
    task = attempt.task
    ran = 1000 * (item.ended - attempt.started) if attempt.started is not None else 0.0
    return {
        "task_id": task.id,
        "attempt": task.attempt,
        "type": task.type,
        "queue": task.queue,
        "worker_id": attempt.worker_id,
        "duration_ms": round(ran, 3),
    }
