"""The hot path's statements about tasks; each is one call of the SQL function of its name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import psycopg

from taskflow.store.arrays import numbers, texts
from taskflow.store.resources import query
from taskflow.tasks.stored import decode_stored
from taskflow.tasks.task import ClaimedTask

Connection = psycopg.Connection[tuple[Any, ...]]
AsyncConnection = psycopg.AsyncConnection[tuple[Any, ...]]

BOTTOM = ("-infinity", 0)
"""The lower bound of a level (queue and priority) that is swept from its beginning."""

MOST_AT_ONCE = 1 << 20
"""Characters of payloads that are decoded together: more would need the memory twice."""

LOCKED_SECONDS = 0.05
"""Until a queue with a limit is tried again whose lock could not be had."""


class Completed(NamedTuple):
    """What came of a batch: `ended` has the attempts that did not succeed or were refused; `released`: the next task of
    a concurrency key may be claimed now, which has waited for longer than others."""

    ended: list[Ended]
    released: bool


class Ended(NamedTuple):
    """What the database made of an attempt that did not succeed; `state` None: refused, it was no longer ours."""

    id: int
    attempt: int
    state: str | None
    run_at: datetime | None


Completion = tuple[int, int, float, str, str | None, str | None]
"""One ended attempt as `complete_tasks` takes it: id, attempt, seconds between claim and start, outcome, result and
details as JSON text or None. A plain tuple, since one is made for every task on the hot path."""


def claim(
    connection: Connection,
    worker_id: int,
    queues: Sequence[str],
    types: str,
    wanted: int,
    frontier: Sequence[tuple[str, int]],
    *,
    options: str = "{}",
) -> list[ClaimedTask]:
    """Claim up to `wanted` due tasks. `frontier` has four pairs a queue, from low to critical; `types` is a literal."""
    cursor = connection.cursor(binary=True)
    cursor.execute(
        query("claim_tasks"),
        (
            worker_id,
            texts(queues),
            types,
            wanted,
            texts([run_at for run_at, _ in frontier]),
            numbers([task_id for _, task_id in frontier]),
            options,
        ),
    )
    return _claimed(cursor.fetchall())


class LimitedClaim(NamedTuple):
    """What a claim from a queue with a limit has brought. `floor` is for the next one. `held_seconds`: for so long a
    limit holds back what is left; infinite: until a task of the queue ends, 0: nothing is held back. `room`: how many
    more may run, None: any number."""

    tasks: list[ClaimedTask]
    floor: int
    held_seconds: float
    room: int | None


def claim_limited(
    connection: Connection,
    worker_id: int,
    queue: str,
    types: str,
    *,
    free: int,
    wanted: int,
    frontier: Sequence[tuple[str, int]],
    floor: int,
    options: str = "{}",
) -> LimitedClaim:
    """Claim from one queue that has a limit: up to `free` tasks, and `wanted` where the limit is far."""
    cursor = connection.cursor(binary=True)
    try:
        cursor.execute(
            query("claim_limited"),
            (
                worker_id,
                queue,
                types,
                free,
                wanted,
                texts([run_at for run_at, _ in frontier]),
                numbers([task_id for _, task_id in frontier]),
                floor,
                options,
            ),
        )
    except psycopg.errors.LockNotAvailable:  # others claim from it so slowly that this one did not get its turn
        return LimitedClaim([], floor, LOCKED_SECONDS, None)
    *rows, verdict = cursor.fetchall()
    next_floor, held_seconds, room = verdict[-3:]
    return LimitedClaim(_claimed([row[:-3] for row in rows]), next_floor, held_seconds or 0.0, room)


def _claimed(rows: Sequence[tuple[Any, ...]]) -> list[ClaimedTask]:
    """The rows of a claim, whose payload and metadata are text. All payloads are decoded at once: by the driver, one by
    one, they take three times as long, more than all else of a row."""
    payload_texts = [row[6] for row in rows]
    try:
        payloads = orjson.loads(f"[{','.join(payload_texts)}]") if sum(map(len, payload_texts)) < MOST_AT_ONCE else None
    except ValueError:  # one of them is for decode_stored
        payloads = None
    if payloads is None:
        payloads = list(map(decode_stored, payload_texts))
    make = tuple.__new__  # what _make and the class itself come to, at half the price
    claimed = []
    for row, payload in zip(rows, payloads, strict=True):
        task_id, attempt, task_type, queue, priority, run_at, _, metadata, timeout, losses = row
        metadata = metadata and decode_stored(metadata)
        fields = (task_id, attempt, task_type, queue, priority, run_at, payload, metadata, timeout, losses)
        claimed.append(make(ClaimedTask, fields))
    return claimed


def ring_waiting(connection: Connection, queues: Sequence[str]) -> None:
    """Tasks of these queues, which have limits, have ended: wake who sleeps if others wait for that."""
    connection.execute(query("ring_waiting"), (texts(queues),))


def complete(connection: Connection, worker_id: int, batch: Sequence[Completion]) -> Completed:
    """End a batch of attempts, whatever their outcomes, in one transaction."""
    return _completed(connection.execute(query("complete_tasks"), _columns(worker_id, batch)).fetchall())


async def complete_async(connection: AsyncConnection, worker_id: int, batch: Sequence[Completion]) -> Completed:
    """`complete`, for asyncio."""
    cursor = await connection.execute(query("complete_tasks"), _columns(worker_id, batch))
    return _completed(await cursor.fetchall())


def _columns(worker_id: int, batch: Sequence[Completion]) -> tuple[Any, ...]:
    # By id: the function searches in it, and locks in that order.
    ids, attempts, waited, outcomes, results, details = zip(*sorted(batch), strict=True) if batch else ((),) * 6
    count = len(batch)
    return (
        worker_id,
        numbers(ids),
        numbers(attempts),
        numbers(waited),
        None if results.count(None) == count else texts(results),
        None if outcomes.count("succeeded") == count else texts(outcomes),
        None if details.count(None) == count else texts(details),
    )


def _completed(answer: Sequence[tuple[Any, ...]]) -> Completed:
    rows = list(map(Ended._make, answer))
    ended = [row for row in rows if row.id is not None]
    return Completed(ended, released=len(ended) < len(rows))


def succeeded(connection: Connection, worker_id: int, task_id: int, attempt: int) -> bool:
    """Whether the attempt is recorded as a success of this worker; who ended it does not matter."""
    row = connection.execute(query("attempt_succeeded"), (task_id, attempt, worker_id)).fetchone()
    return bool(row and row[0])


def release(connection: Connection, worker_id: int, attempts: Sequence[tuple[int, int]]) -> int:
    """Give back tasks that were claimed and never started; returns how many were still this worker's.

    Raises psycopg.errors.LockNotAvailable if somebody has locked some of them; the others have been given back then.
    """
    try:
        return _release(connection, worker_id, attempts)
    except psycopg.errors.LockNotAvailable:
        taken = locked(connection, [task_id for task_id, _ in attempts])
        _release(connection, worker_id, [item for item in attempts if item[0] not in taken])
        raise


def _release(connection: Connection, worker_id: int, attempts: Sequence[tuple[int, int]]) -> int:
    parameters = (worker_id, *(numbers([item[column] for item in sorted(attempts)]) for column in range(2)))
    row = connection.execute(query("release_tasks"), parameters).fetchone()
    return int(row[0]) if row else 0


def mark_started(connection: Connection, worker_id: int, started: Sequence[tuple[int, int, float]]) -> set[int]:
    """Record that attempts (id, attempt, seconds since the claim) have begun; returns the ids that are ours still."""
    parameters = (worker_id, *(numbers([item[column] for item in sorted(started)]) for column in range(3)))
    return {row[0] for row in connection.execute(query("mark_started"), parameters)}


def report_progress(
    connection: Connection, worker_id: int, reports: Sequence[tuple[int, int, int, str | None]]
) -> None:
    """Store the progress of running attempts: (id, attempt, percent, message)."""
    ids, attempts, percents, messages = zip(*sorted(reports, key=lambda report: report[0]), strict=True)
    parameters = (worker_id, numbers(ids), numbers(attempts), numbers(percents), texts(messages))
    connection.execute(query("report_progress"), parameters)


def next_due(connection: Connection, queues: Sequence[str] | None, types: str) -> dict[str, float]:
    """Seconds until the first waiting task of each queue is due (0 or less: it is). `queues` None: all there are."""
    parameters = (None if queues is None else texts(queues), types)
    return dict(connection.execute(query("next_due"), parameters).fetchall())


def claimed_by(connection: Connection, worker_id: int) -> set[tuple[int, int]]:
    """The (id, attempt) that a worker id has claimed and not ended."""
    return {(row[0], row[1]) for row in connection.execute(query("claimed_by"), (worker_id,))}


def locked(connection: Connection, ids: Sequence[int]) -> set[int]:
    """Those of these tasks that somebody else has locked at this moment."""
    return {row[0] for row in connection.execute(query("locked_tasks"), (numbers(ids),))}
