"""What a handler sees of the attempt it runs: who it is, how to report, whether to stop."""

from __future__ import annotations

import re
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import orjson

from taskflow.errors import Cancel
from taskflow.tasks.texts import storable_text

if TYPE_CHECKING:
    import psycopg

    from taskflow.tasks.task import ClaimedTask

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
LOG_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
MAX_MESSAGE_CHARACTERS = 1000
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON; an escaped backslash before u0000 makes none


class Attempt(Protocol):
    """What the worker does for a context. The calls may come from any thread."""

    def report_progress(self, percent: int, message: str | None) -> None:
        """Store the progress (0..100) within half a second, or with the attempt's end; never blocks on the database."""

    def log(self, entry: bytes) -> None:
        """Keep an entry of the logs, a JSON object that jsonb takes, until the attempt ends in whatever way."""

    def is_cancelled(self) -> bool:
        """Whether somebody asked to cancel the task, or its result is not wanted any more. Costs no round trip."""

    def open_connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of its own to the worker's database, closed at the end of the block."""

    def open_connection_async(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """The same for handlers in the event loop."""

    def open_transaction(
        self, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection in a transaction at whose end the task is completed, with the logs so far."""

    def open_transaction_async(
        self, context: Context, isolation_level: psycopg.IsolationLevel | None
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """The same for handlers in the event loop."""

    def set_result(self, result: Any) -> None:
        """The result that the task is completed with in the transaction that is open."""


class Context:
    """Given to handlers that take a second parameter: who the attempt is, how to report, whether to stop."""

    # One is made for every attempt on the hot path, so it holds references only and makes nothing before it is used.
    # `deadline_timestamp` is the Unix time at which the attempt times out, None without a timeout.
    __slots__ = ("_attempt", "_deadline_timestamp", "_task")

    def __init__(self, task: ClaimedTask, attempt: Attempt, deadline_timestamp: float | None = None) -> None:
        self._task = task
        self._attempt = attempt
        self._deadline_timestamp = deadline_timestamp

    def __repr__(self) -> str:
        return f"<Context task={self.task_id} attempt={self.attempt} type={self.type!r} queue={self.queue!r}>"

    @property
    def task_id(self) -> int:
        """The id of the task; the same in every attempt, so it serves as a key for idempotent work."""
        return self._task.id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1; it counts snoozed and lost attempts too."""
        return self._task.attempt

    @property
    def type(self) -> str:
        """The task's type."""
        return self._task.type

    @property
    def queue(self) -> str:
        """The queue that the task came from."""
        return self._task.queue

    @property
    def metadata(self) -> dict[str, Any]:
        """What the producer gave along with the payload."""
        return self._task.metadata or {}

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out (UTC), None if it never does."""
        return None if self._deadline_timestamp is None else datetime.fromtimestamp(self._deadline_timestamp, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether the handler should stop, since the task was cancelled meanwhile. Cheap enough to ask in a loop."""
        return self._attempt.is_cancelled()

    def heartbeat(self) -> None:
        """A point at which a long handler lets itself be stopped: raises `Cancel` once the task was cancelled."""
        if self._attempt.is_cancelled():
            raise Cancel("the task was cancelled while it ran")

    def progress(self, percent: float, message: str | None = None) -> None:
        """Show how far the task is: `percent` is cut to a whole number of 0..100 (infinity to 100, NaN counts as 0),
        `message` to 1,000 characters. It is stored within half a second, and never waits for the database.
        """
        shown = None if message is None else storable_text(message[:MAX_MESSAGE_CHARACTERS])
        self._attempt.report_progress(int(max(0, min(float(percent), 100))), shown)  # in this order NaN becomes 0

    def log(self, message: str, level: LogLevel = "info", **fields: Any) -> None:
        """Add an entry to the logs of this attempt; they are stored when it ends, in whatever way but the end of its
        worker.

        At most 1,000 entries or 256 KiB are kept, what comes later is counted and dropped. `level` is "debug", "info",
        "warning", "error" or "critical". `fields` may be anything; what is no JSON value is stored as its `str()`.
        Raises `ValueError` for an unknown level, nothing else.
        """
        if level not in LOG_LEVELS:
            raise ValueError(f"log level {level!r} is unknown: use one of {', '.join(sorted(LOG_LEVELS))}")
        entry = {"at": datetime.now(UTC).isoformat(), "level": level, "message": message}
        self._attempt.log(_encode({**fields, **entry}))

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection to the database of the queue: ``with context.connection() as conn: ...``. The end of the block
        commits, or rolls back after an exception, and closes it.

        It is opened for this block alone, so ask for it once an attempt, not once a row. Raises `DatabaseUnavailable`.
        """
        return self._attempt.open_connection()

    def connection_async(self) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """The same for `async def` handlers: ``async with context.connection_async() as conn: ...``."""
        return self._attempt.open_connection_async()

    def transaction(
        self, isolation_level: psycopg.IsolationLevel | None = None
    ) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A transaction in the database of the queue, with the completion of the task in it: what the handler writes
        and that the task is done are committed together, or neither is.

        ::

            with context.transaction() as conn:
                conn.execute("UPDATE accounts SET …")
                context.set_result({"receipt": 42})

        The end of the block completes the task and commits. An exception in it rolls back, and is handled like any
        other; so is `Cancel`, which the end raises if the task was cancelled meanwhile. After a commit the task is
        done, whatever the handler does. One block an attempt, unless it was rolled back. `isolation_level` None: as the
        login has it.

        Raises `AttemptLost` at its end, rolled back, if the attempt is not this worker's any more; `CommitUnknown` if
        COMMIT got no answer: the worker finds out then, and runs the task again only if nothing was committed.
        """
        return self._attempt.open_transaction(self, isolation_level)

    def transaction_async(
        self, isolation_level: psycopg.IsolationLevel | None = None
    ) -> AbstractAsyncContextManager[psycopg.AsyncConnection[Any]]:
        """The same for `async def` handlers: ``async with context.transaction_async() as conn: ...``."""
        return self._attempt.open_transaction_async(self, isolation_level)

    def set_result(self, result: Any) -> None:
        """In the block of a transaction: complete the task with this JSON value. What the handler returns comes after
        the commit, too late to be stored. The last call counts. Raises `TaskflowError` outside of a block.
        """
        self._attempt.set_result(result)


def _encode(entry: dict[str, Any]) -> bytes:
    """The entry as JSON without NUL characters, which jsonb refuses; a value that cannot be written is its text."""
    try:
        encoded = _dump(entry)
    except (TypeError, ValueError):
        encoded = _dump({storable_text(name): _writable(value) for name, value in entry.items()})
    return _NUL.sub(rb"\1\\ufffd", encoded) if b"\\u0000" in encoded else encoded


def _writable(value: Any) -> Any:
    try:
        _dump(value)
    except (TypeError, ValueError):
        return _text(value)
    return value


def _text(value: Any) -> str:
    try:
        return storable_text(str(value))
    except Exception:  # noqa: BLE001  (a handler does not fail by what it logs)
        return object.__repr__(value)


def _dump(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
