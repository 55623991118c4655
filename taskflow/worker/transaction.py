"""The block of `context.transaction()`: what a handler writes, and the completion of its task, committed as one.

The completion is a call of `complete_tasks` with the fence of every other one, the last statement before COMMIT. It
keeps the task's row locked until the transaction has ended, so whoever else would end the attempt waits for that, and
is refused if it was committed. Hence a COMMIT that got no answer needs no guess: the next write under the fence finds
out (`own_completions.py`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.errors import LockNotAvailable
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from taskflow.errors import AttemptLost, Cancel, CommitUnknown, DeadLetter, TaskflowError
from taskflow.store import partitions, tasks
from taskflow.store.connection import CONFLICTS, connect, connect_async, limit_transaction, limit_transaction_async
from taskflow.store.tasks import Completed, Completion
from taskflow.tasks.outcome import Succeeded
from taskflow.worker.ending import UNSTORABLE, Unstorable, encode, ending, why_unstorable
from taskflow.worker.own_completion import OwnCompletion, Stage

if TYPE_CHECKING:
    from taskflow.tasks.context import Context
    from taskflow.worker.attempt import Attempt

CONFLICTS_BORNE = 20
LONGEST_PAUSE_SECONDS = 0.05
SLACK_SECONDS = 1.0  # the worker's own timeout comes first, and says better what has happened
BROKEN = {
    TransactionStatus.IDLE: (
        "the transaction was ended inside of its block, by a COMMIT or ROLLBACK: what it had written may be committed "
        "without the task. Leave the block to end it"
    ),
    TransactionStatus.INERROR: (
        "a statement in the block has failed, so PostgreSQL commits nothing of it: put what may fail into "
        "conn.transaction(), which is a savepoint"
    ),
}


@contextmanager
def block(
    dsn: str, attempt: Attempt, context: Context, isolation_level: psycopg.IsolationLevel | None
) -> Iterator[psycopg.Connection[Any]]:
    """A connection whose transaction, at the end of the block, completes the task and is committed.

    Raises what `Context.transaction` says.
    """
    own = OwnCompletion.begin(attempt.own)
    # Autocommit, or after a COMMIT of the handler's own the next transaction would begin by itself, unnoticed.
    with connect(dsn, name="handler", prepare_threshold=None) as connection:
        connection.isolation_level = isolation_level
        last = _Block(dsn, attempt, context, own)
        try:
            with connection.transaction():
                limit_transaction(connection, last.seconds)
                yield connection
                _complete(last, connection)
            last.ended(connection.info.transaction_status)
        except BaseException as error:
            last.failed(error, connection.info.transaction_status)
            raise


@asynccontextmanager
async def block_async(
    dsn: str, attempt: Attempt, context: Context, isolation_level: psycopg.IsolationLevel | None
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The same for asyncio. A handler that is cancelled in COMMIT hears of it when that has ended."""
    own = OwnCompletion.begin(attempt.own)
    async with await connect_async(dsn, name="handler", prepare_threshold=None) as connection:
        await connection.set_isolation_level(isolation_level)
        last = _Block(dsn, attempt, context, own)
        transaction = connection.transaction()
        cancelled: asyncio.CancelledError | None = None
        try:
            await transaction.__aenter__()
            try:
                await limit_transaction_async(connection, last.seconds)
                yield connection
                await _complete_async(last, connection)
            except BaseException as error:
                if not await transaction.__aexit__(type(error), error, error.__traceback__):
                    raise
            else:
                cancelled = await _to_its_end(transaction.__aexit__(None, None, None))
            last.ended(connection.info.transaction_status)
            if cancelled is not None:
                raise cancelled
        except BaseException as error:
            last.failed(error, connection.info.transaction_status)
            raise


class _Block:
    """What both kinds of block have in common: everything but the waiting."""

    def __init__(self, dsn: str, attempt: Attempt, context: Context, own: OwnCompletion) -> None:
        self._dsn = dsn
        self._attempt = attempt
        self._context = context
        self._own = attempt.own = own
        self._stored: str | None = None
        self._released = False
        self._conflicts = 0
        self._days_made = False

    @property
    def seconds(self) -> float:
        """For how long the transaction may stay open: a thread cannot be killed, so the server ends what it holds."""
        return max(0.0, self._attempt.deadline - time.monotonic()) + SLACK_SECONDS

    @property
    def worker_id(self) -> int:
        """The fence, beside the number of the attempt."""
        return self._attempt.worker_id

    def completion(self, status: TransactionStatus) -> Completion:
        """What is to be written at the end of the block. Raises what keeps it from being written."""
        if (mistake := BROKEN.get(status)) is not None:
            raise TaskflowError(mistake)
        self._mind_cancellation()
        try:
            row = encode(ending(self._attempt, Succeeded(self._own.result)))
        except Unstorable as error:
            raise DeadLetter(str(error)) from error
        self._stored = row[4]
        return row

    def overcome(self, error: psycopg.Error) -> None:
        """Wait for what is in the way of the completion, or remove it. Raises where no repetition helps."""
        self._mind_cancellation()
        in_time = time.monotonic() < self._attempt.deadline
        match error:
            case LockNotAvailable() if in_time:  # somebody's open transaction has locked the task
                time.sleep(LONGEST_PAUSE_SECONDS)
            case _ if partitions.is_missing_day(error) and not self._days_made:
                self._days_made = True
                with connect(self._dsn, name="handler", prepare_threshold=None) as other:
                    partitions.ensure_days(other, partitions.DAYS_AHEAD)
            case _ if isinstance(error, CONFLICTS) and self._conflicts < CONFLICTS_BORNE:
                self._conflicts += 1
                time.sleep(random.random() * LONGEST_PAUSE_SECONDS)
            case _ if isinstance(error, UNSTORABLE):
                raise DeadLetter(why_unstorable(error)) from error
            case _:
                raise error

    def completed(self, answer: Completed) -> None:
        """The completion is written, unless the answer says that it was refused. COMMIT is next."""
        if any(row.state is None for row in answer.ended):
            raise AttemptLost(
                f"attempt {self._context.attempt} of task {self._context.task_id} is not this worker's any more: it "
                "was rescued or ended by somebody else meanwhile, so nothing of the transaction is committed"
            )
        self._released = answer.released
        self._attempt.commit_begins()

    def ended(self, status: TransactionStatus) -> None:
        """The block was left without an exception."""
        if self._own.stage is Stage.OPEN:  # psycopg.Rollback, which leaves no block
            self._attempt.own = None
        elif status is not TransactionStatus.IDLE:
            raise psycopg.OperationalError("the connection is closed")
        else:
            self._attempt.committed(self._stored, released=self._released)

    def failed(self, error: BaseException, status: TransactionStatus) -> None:
        """The block was left with an exception. Raises `CommitUnknown` if it is that."""
        if self._own.stage is Stage.OPEN:
            self._attempt.own = None
        elif self._own.stage is Stage.IN_DOUBT:
            if status is not TransactionStatus.IDLE:
                what = " ".join(str(error).split()) or type(error).__name__
                raise CommitUnknown(
                    f"the connection was lost at COMMIT ({what}): the worker finds out whether the task is completed, "
                    "and runs it again if it is not"
                ) from error
            self._attempt.rolled_back()  # the server has answered, and with an error: a deferred constraint, say

    def _mind_cancellation(self) -> None:
        if self._attempt.is_cancelled():
            raise Cancel("the task was cancelled before its transaction was committed")


def _complete(last: _Block, connection: psycopg.Connection[Any]) -> None:
    connection.row_factory, connection.cursor_factory = tuple_row, psycopg.Cursor  # whatever the handler liked better
    row = last.completion(connection.info.transaction_status)
    while True:
        try:
            with connection.transaction():  # a savepoint
                answer = tasks.complete(connection, last.worker_id, [row])
            break
        except psycopg.Error as error:
            last.overcome(error)
    last.completed(answer)


async def _complete_async(last: _Block, connection: psycopg.AsyncConnection[Any]) -> None:
    connection.row_factory, connection.cursor_factory = tuple_row, psycopg.AsyncCursor
    row = last.completion(connection.info.transaction_status)
    while True:
        try:
            async with connection.transaction():
                answer = await tasks.complete_async(connection, last.worker_id, [row])
            break
        except psycopg.Error as error:
            await asyncio.to_thread(last.overcome, error)
    last.completed(answer)


async def _to_its_end(commit: Coroutine[Any, Any, object]) -> asyncio.CancelledError | None:
    """Await what must not be left half way; returns the cancellation that came meanwhile. Raises what it raises."""
    running = asyncio.ensure_future(commit)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError as error:
            cancelled = error
    running.result()
    return cancelled
