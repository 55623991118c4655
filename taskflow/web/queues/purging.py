"""Cancelling all that waits: in batches, each a transaction of its own, since one over a million rows would keep every
dead row of the database from being removed for as long as it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sqlalchemy import BigInteger, Connection, Integer, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.web.access import audit
from taskflow.web.services import LONGEST_REQUEST_SECONDS, services

_batch = func.taskflow.cancel_waiting(
    bindparam("queues", type_=ARRAY(Text)),
    bindparam("priority", type_=Integer),
    bindparam("after", type_=BigInteger),
).table_valued("cancelled", "last_id")
CANCEL_WAITING = select(_batch.c.cancelled, _batch.c.last_id)


def purge(
    *,
    queues: Iterable[str] | None,
    priority: int | None = None,
    action: str,
    target: str,
    check: Callable[[Connection], None] = lambda connection: None,
) -> int:
    """Cancel what waits in `queues` (None: in all) at `priority` (None: at every one). Each batch that cancels anything
    is recorded as `action` with its number; `check` comes before all, in the transaction of the first. Returns how many
    tasks were cancelled: not what a worker was just claiming, and not all, where that takes longer than a request
    should."""
    began = time.monotonic()
    parameters = {"queues": None if queues is None else sorted(queues), "priority": priority}
    cancelled: int = 0
    after: int = 0
    while True:
        with services().database.transaction() as connection:
            if after == 0:
                check(connection)
            count, last = connection.execute(CANCEL_WAITING, {**parameters, "after": after}).one()
            if count:
                audit.record(connection, action=action, target=target, details={"deleted_count": count})
        cancelled += count
        if last is None or time.monotonic() - began > LONGEST_REQUEST_SECONDS or services().closing.is_set():
            return cancelled
        after = last
