"""Cancelling, retrying and deleting many tasks: found by id or filter, and changed some hundred in a transaction."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import BigInteger, Double, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from taskflow.schema import Time
from taskflow.store import filters
from taskflow.store.filter_terms import LIVE, OneOf, StateIs
from taskflow.store.filters import Filter
from taskflow.tasks.task import FINISHED_STATES
from taskflow.web.access import audit
from taskflow.web.models.base import CENTURY_SECONDS
from taskflow.web.services import LONGEST_REQUEST_SECONDS, services
from taskflow.web.tasks import filtering
from taskflow.web.tasks.task_search import OLDEST, After, Search

Action = Literal["cancel", "retry", "delete"]
CHUNK = 500
COUNTED_CHUNK = 5_000
LIVING = Filter((StateIs(frozenset({*LIVE, "scheduled"})),))
ENDED = Filter((StateIs(FINISHED_STATES),))
REACHED = {"cancel": LIVING, "retry": ENDED, "delete": ENDED}
# The times by the clock of the database, which also decides when they are due; none later than a task may have.
APPLY = text("""
SELECT taskflow.apply_to_tasks(:action, :ids, :options, (
    SELECT array_agg(least(coalesce(:begins_at, now()) + make_interval(secs => d.seconds), '2200-01-01Z')
                     ORDER BY d.place)
    FROM unnest(:delays) WITH ORDINALITY AS d (seconds, place)))
""").bindparams(
    bindparam("action", type_=Text),
    bindparam("ids", type_=ARRAY(BigInteger)),
    bindparam("options", type_=JSONB),
    bindparam("begins_at", type_=Time),
    bindparam("delays", type_=ARRAY(Double)),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be done with which tasks. `options`: those of a retry; `begins_at`: when the first of them is due."""

    action: Action
    wanted: Filter
    per_second: float | None
    options: dict[str, Any]
    begins_at: datetime | None
    details: dict[str, Any]


def by_ids(ids: Sequence[str]) -> Filter:
    """The tasks of these ids that whoever asks may see."""
    numbers = tuple(sorted({int(task_id) for task_id in ids if int(task_id) < 2**63}))
    return filters.combine([Filter((OneOf("id", "bigint", numbers),)), filtering.visible()])


def by_filter(action: Action, written: str) -> Filter:
    """The tasks that fit, in a state that allows `action`. Raises `Problem` for a filter that cannot be read."""
    return filtering.of_text(written, "/filter", REACHED[action])


def count(wanted: Filter) -> int:
    """How many tasks fit."""
    return sum(len(ids) for ids in _ids(wanted, COUNTED_CHUNK))


def carry_out(batch: Batch) -> tuple[int, int]:
    """How many fitted, and with how many it was done: not with all, where that takes longer than a request should."""
    began = time.monotonic()
    matched = affected = 0
    paced = batch.per_second is not None and batch.action != "retry"
    for ids in _ids(batch.wanted, _chunk(batch) if paced else CHUNK):
        due = began + matched / batch.per_second if paced and batch.per_second else began
        if due - began <= LONGEST_REQUEST_SECONDS:
            services().closing.wait(max(0.0, due - time.monotonic()))
        if max(due, time.monotonic()) - began > LONGEST_REQUEST_SECONDS or services().closing.is_set():
            return matched + len(ids) + _count_after(batch.wanted, ids[-1]), affected
        affected += _apply(batch, ids, matched)
        matched += len(ids)
    return matched, affected


def _apply(batch: Batch, ids: list[int], before: int) -> int:
    delays: list[float] = []
    if batch.action == "retry" and (batch.per_second or batch.begins_at):
        pace = batch.per_second or float("inf")
        delays = [min((before + place) / pace, float(CENTURY_SECONDS)) for place in range(len(ids))]
    parameters = {
        "action": batch.action,
        "ids": ids,
        "options": batch.options,
        "begins_at": batch.begins_at,
        "delays": delays,
    }
    with services().database.transaction() as connection:
        done = connection.execute(APPLY, parameters).scalar_one()
        if done:
            audit.record(
                connection, action=f"task.{batch.action}_many", details={**batch.details, "affected": len(done)}
            )
    return len(done)


def _ids(wanted: Filter, chunk: int, after: int | None = None) -> Iterator[list[int]]:
    """The ids that fit, from the lowest on. Each look is a transaction of its own: none is open while others write."""
    while True:
        with services().database.transaction() as connection:
            place = None if after is None else After(after)
            ids = [found.id for found in Search(connection).first(wanted, OLDEST, chunk, place)]
        if ids:
            yield ids
        if len(ids) < chunk:
            return
        after = ids[-1]


def _count_after(wanted: Filter, last: int) -> int:
    return sum(len(ids) for ids in _ids(wanted, COUNTED_CHUNK, last))


def _chunk(batch: Batch) -> int:
    """So many as are to be done in half a second."""
    assert batch.per_second is not None
    return max(1, min(CHUNK, int(batch.per_second / 2)))
