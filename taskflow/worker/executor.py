"""Runs the handler of one attempt and says what became of it."""

from __future__ import annotations

import asyncio
import time
import traceback
from typing import Any

from taskflow.errors import Cancel, DeadLetter, InvalidPayload, Retry, Signal, Snooze
from taskflow.tasks.context import Context
from taskflow.tasks.outcome import Cancelled, Failed, Outcome, Snoozed, Succeeded, TimedOut
from taskflow.tasks.stored import Unreadable
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import NO_RESULT

MAX_ERROR_CHARACTERS = 10_000
MAX_TRACEBACK_CHARACTERS = 50_000


def context_of(attempt: Attempt) -> Context:
    """The context for an attempt that has started."""
    remaining = attempt.deadline - time.monotonic()
    return Context(attempt.task, attempt, time.time() + remaining)


def payload_of(attempt: Attempt) -> Any:
    """The payload as the handler takes it. Raises `InvalidPayload`."""
    stored = attempt.task.payload
    if stored.__class__ is Unreadable:
        raise InvalidPayload(f"The payload cannot be read: {stored.reason}")
    return attempt.handler.parse(stored)


def run_sync(attempt: Attempt) -> Outcome:
    """Run a plain function. Never raises: whatever the handler raises is an outcome."""
    try:
        result = _called(attempt)
    except BaseException as error:  # noqa: BLE001  (SystemExit too: a handler does not end the worker)
        return outcome_of(error)
    return NO_RESULT if result is None else Succeeded(result)


async def run_async(attempt: Attempt) -> Outcome:
    """Run a coroutine function until its deadline. Never raises: its own cancellation is an outcome too."""
    limit = asyncio.timeout(attempt.deadline - (attempt.started or 0.0))
    try:
        async with limit:
            result = await _called(attempt)
    except asyncio.CancelledError as error:
        if attempt.cancel_requested:
            return Cancelled("the task was cancelled while it ran")
        return outcome_of(error)  # of something that the handler waited for: nobody has cancelled the task
    except TimeoutError as error:
        if limit.expired():
            return TimedOut("the handler ran longer than its timeout and was cancelled")
        return outcome_of(error)
    except BaseException as error:  # noqa: BLE001  (SystemExit too: a handler does not end the worker)
        return outcome_of(error)
    return NO_RESULT if result is None else Succeeded(result)


def _called(attempt: Attempt) -> Any:
    handler = attempt.handler
    payload = payload_of(attempt)
    return handler.function(payload, context_of(attempt)) if handler.wants_context else handler.function(payload)


def outcome_of(error: BaseException) -> Outcome:
    """What an exception of a handler means for its attempt. Never raises, however broken the exception is."""
    try:
        return _meaning(error)
    except Exception as broken:  # noqa: BLE001  (a subclass of Retry that forgot super().__init__(), for one)
        return Failed(f"{describe(error)}; and the exception itself is broken: {describe(broken)}", traceback_of(error))


def _meaning(error: BaseException) -> Outcome:
    match error:
        case Snooze():
            return Snoozed(error.seconds, str(error))
        case Cancel():
            return Cancelled(str(error))
        case DeadLetter():
            return Failed(str(error), final=True)
        case Retry():
            return Failed(str(error), retry_after_seconds=error.after_seconds)
        case InvalidPayload():
            return Failed(str(error), final=True)
        case Signal():
            return Failed(str(error))
    return Failed(describe(error), traceback_of(error))


def describe(error: BaseException) -> str:
    """The exception in one line: its class, and what it says."""
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001  (an exception may be broken in any way)
        message = f"(its message cannot be made: {type(broken).__name__})"
    return (f"{type(error).__name__}: {message}" if message else type(error).__name__)[:MAX_ERROR_CHARACTERS]


def traceback_of(error: BaseException) -> str:
    """The traceback, its end if it is very long, since there the cause stands."""
    return "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARACTERS:]
