"""Ended attempts on their way into the database: gathered, encoded, written in batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from typing import Any, NamedTuple, assert_never

import orjson
import psycopg

from taskflow.store.tasks import Completion
from taskflow.tasks.outcome import Cancelled, Failed, Outcome, Snoozed, Succeeded, TimedOut
from taskflow.tasks.texts import storable_text
from taskflow.worker.attempt import Attempt

MAX_RESULT_CHARACTERS = 16 * 2**20
"""PostgreSQL's own limit for jsonb is 256 MiB in its form, of which a number takes up to eight times its text."""
PORTION_CHARACTERS = 32 * 2**20
TOO_LARGE = "the result has {:.1f} MiB as JSON, and at most {:.0f} are stored: put it elsewhere, and return where it is"
# Wrong values, and those that exceed a limit of PostgreSQL.
UNSTORABLE = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)

NO_RESULT = Succeeded()
_make = tuple.__new__  # what a named tuple's class comes to, at a third of the price


class Unstorable(Exception):
    """A result that is no JSON, or too much of it; the message says which."""


class Ending(NamedTuple):
    """An attempt with what became of it; `ended` is of the monotonic clock."""

    attempt: Attempt
    outcome: Outcome | None  # None: taken from the handler by the shutdown, neither success nor failure
    logs: list[dict[str, Any]] | None
    ended: float


Endings = SimpleQueue[Ending | None]
"""From whoever ends an attempt to the completer; None wakes the completer for something else."""


def ending(attempt: Attempt, outcome: Outcome | None) -> Ending:
    """The ending of an attempt that ends now, with what it has logged so far."""
    logs = attempt.logs
    return _make(Ending, (attempt, outcome, None if logs is None else logs.stored(), time.monotonic()))


def encode(item: Ending) -> Completion:
    """An ending as the database takes it. Raises `Unstorable` for a result that it would not take."""
    attempt, outcome, logs, _ = item
    task = attempt.task
    if outcome is NO_RESULT and not logs and attempt.progress is None:  # the usual one, and on the hot path
        return task.id, task.attempt, attempt.waited, "succeeded", None, None
    details: dict[str, Any] = {}
    result: str | None = None
    match outcome:
        case Succeeded():
            word = "succeeded"
            if outcome.result is not None:
                try:
                    result = orjson.dumps(outcome.result).decode()
                except (TypeError, ValueError) as error:
                    raise Unstorable(f"the result cannot be stored as JSON: {error}") from error
                if len(result) > MAX_RESULT_CHARACTERS:
                    raise Unstorable(TOO_LARGE.format(len(result) / 2**20, MAX_RESULT_CHARACTERS / 2**20))
        case Failed():
            word = "failed"
            details = {"error": outcome.error, "traceback": outcome.traceback, "final": outcome.final}
            if outcome.retry_after_seconds is not None:
                details["retry_after"] = outcome.retry_after_seconds
        case TimedOut():
            word, details = "timed_out", {"error": outcome.error}
        case Snoozed():
            word, details = "snoozed", {"seconds": outcome.seconds, "error": outcome.reason}
        case Cancelled():
            word, details = "cancelled", {"error": outcome.reason}
        case None:
            word, reason = "lost", "the worker was stopped before the handler had finished"
            details = {"error": reason, "charged": False, "lost": False}
        case _:
            assert_never(outcome)
    if logs:
        details["logs"] = logs
    if (progress := attempt.progress) is not None and not progress.stored:
        details |= {"progress": progress.percent, "progress_message": progress.message}
    return task.id, task.attempt, attempt.waited, word, result, _json(details) if details else None


def portions(items: Sequence[Ending]) -> Iterator[tuple[Sequence[Ending], list[Completion]]]:
    """Endings with their rows, in portions of a size that fits into one statement. One whose result cannot be stored
    comes as a failure, and a final one: to run the handler again would repeat its work and give the same result."""
    items = list(items)
    rows: list[Completion] = []
    begin = size = 0
    for end, item in enumerate(items, 1):
        try:
            row = encode(item)
        except Unstorable as error:
            items[end - 1] = failed = _failed(item, str(error))
            row = encode(failed)
        rows.append(row)
        if row[4] or row[5]:
            size += len(row[4] or "") + len(row[5] or "")
            if size > PORTION_CHARACTERS:
                yield items[begin:end], rows
                begin, rows, size = end, [], 0
    if rows:
        yield items[begin:], rows


def refused(item: Ending, reason: str) -> Ending:
    """The same attempt as a final failure, since the database cannot store something of what it brought."""
    return _failed(item, reason)._replace(logs=None)


def _failed(item: Ending, reason: str) -> Ending:
    return item._replace(outcome=Failed(reason, final=True))


def why_unstorable(error: psycopg.Error) -> str:
    """What PostgreSQL has against a result, in one of the errors `UNSTORABLE`."""
    reason = error.diag.message_primary or str(error).strip()
    # A broken rule's detail is the whole row.
    told = isinstance(error, psycopg.DataError) and error.diag.message_detail
    detail = f" ({error.diag.message_detail})" if told else ""
    return f"the result cannot be stored: {reason}{detail}"


def same_json(value: Any, stored: str | None) -> bool:
    """Whether a value is what was stored as this JSON text, None being no result."""
    try:
        return orjson.dumps(value).decode() == (stored or "null")
    except (TypeError, ValueError):
        return False


def _json(details: dict[str, Any]) -> str:
    """Details as JSON text that jsonb takes: no NUL and no lone surrogate, however odd the error was."""
    try:
        encoded = orjson.dumps(details)
    except (TypeError, ValueError):
        encoded = b""
    if not encoded or b"\\u0000" in encoded:
        encoded = orjson.dumps(_storable(details))
    return encoded.decode()


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable_text(value)
        case dict():
            return {_storable(key): _storable(item) for key, item in value.items()}
        case list():
            return [_storable(item) for item in value]
        case None | bool() | int() | float():
            return value
    return storable_text(str(value))
