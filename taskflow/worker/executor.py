"""Runs the handler of one attempt and says what became of it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
import traceback
from typing import Any, NoReturn

from taskflow.errors import Cancel, DeadLetter, InvalidPayload, Retry, Signal, Snooze
from taskflow.tasks.context import Context
from taskflow.tasks.outcome import Cancelled, Failed, Outcome, Snoozed, Succeeded, TimedOut
from taskflow.tasks.stored import Unreadable
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import NO_RESULT

MAX_ERROR_CHARACTERS = 10_000
MAX_TRACEBACK_CHARACTERS = 50_000
_forks = 0  # from the first process down to this one; to ask for the process id would be a system call


def _forked() -> None:  # pragma: no cover  (forked processes are not measured)
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_forked)


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
    """Run a plain function. Never raises: whatever the handler raises is an outcome.

    It returns only in the process that called it, and ends those that the handler has forked: they are no workers.
    """
    forks = _forks
    try:
        result = _called(attempt)
    except BaseException as error:  # noqa: BLE001  (SystemExit too: a handler does not end the worker)
        if _forks != forks:  # pragma: no cover  (in a fork)
            _leave(error)
        return outcome_of(error)
    if _forks != forks:  # pragma: no cover  (in a fork)
        _leave()
    return NO_RESULT if result is None else Succeeded(result)


async def run_async(attempt: Attempt) -> Outcome:
    """Run a coroutine function until its deadline. Never raises: its own cancellation is an outcome too."""
    limit = asyncio.timeout(attempt.deadline - (attempt.started or 0.0))
    try:
        async with limit:
            result = await _awaited(attempt)
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


async def _awaited(attempt: Attempt) -> Any:
    forks = _forks
    try:
        result = await _called(attempt)
    except BaseException as error:
        if _forks != forks:  # pragma: no cover  (in a fork)
            _leave(error)
        raise
    if _forks != forks:  # pragma: no cover  (in a fork)
        _leave()
    return result


def _leave(error: BaseException | None = None) -> NoReturn:  # pragma: no cover  (forked processes are not measured)
    """End a process that a handler has forked, with the exit code of a program that ends like this."""
    try:
        match error:
            case None | SystemExit(code=None):
                code = 0
            case SystemExit(code=int(given)):
                code = given & 0xFF
            case SystemExit():
                code = 1
                sys.stderr.write(f"{error.code}\n")
            case _:
                code = 1
                traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  (an exception may be broken in any way, and an output closed)
        code = 1
    os._exit(code)


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
