"""What both clients do before and after they talk to the database."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson

from taskflow.errors import InvalidTask, SettingsError, WaitTimeout
from taskflow.store import client_statements as statements
from taskflow.tasks.encoding import may_be_unsound
from taskflow.tasks.new_task import NewTask

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.5
_TOGETHER = frozenset(["type", "payload", "queue", "priority"])


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What a client needs of the settings."""

    dsn: str
    max_payload_bytes: int

    def required_dsn(self) -> str:
        """The connection string. Raises `SettingsError` if none was given: only now, for none may be needed."""
        if not self.dsn:
            raise SettingsError(["DATABASE_URL: not set; set it, or give Client(dsn) a connection string"])
        return self.dsn


def client_settings(dsn: str | None, max_payload_bytes: int | None) -> ClientSettings:
    """The given values, and for None those of the environment. Raises `SettingsError`."""
    from taskflow import settings  # pydantic takes longer to import than everything else here

    loaded = settings.load(database_url=dsn, max_payload_bytes=max_payload_bytes)
    return ClientSettings(loaded.database_url, loaded.max_payload_bytes)


def check_size(task: NewTask, limits: ClientSettings) -> None:
    """Raise `InvalidTask` for a payload that is too long."""
    if task.payload_bytes > limits.max_payload_bytes:
        raise InvalidTask(
            f"the payload has {task.payload_bytes} bytes as JSON, more than the {limits.max_payload_bytes} "
            "allowed (TASKFLOW_MAX_PAYLOAD_BYTES): store what is large elsewhere, and enqueue where it is"
        )


def as_new_tasks(tasks: Iterable[NewTask | Mapping[str, Any]], limits: ClientSettings) -> Iterator[NewTask]:
    """Tasks given as `NewTask`s or as mappings of its parameters. Raises `InvalidTask` and says which is wrong, also
    where it is a generator that makes `NewTask`s and fails.
    """
    surely_short = limits.max_payload_bytes // 4  # UTF-8 takes at most four bytes a character
    number = 0
    try:
        for given in tasks:
            task = given if isinstance(given, NewTask) else _from_mapping(given)
            if len(task.encoded_payload) > surely_short:
                check_size(task, limits)
            yield task
            number += 1
    except InvalidTask as error:
        _say_which(error, number)
        raise


def _say_which(error: InvalidTask, number: int) -> None:
    error.args = (f"task {number}: {error.args[0]}",)


def many_tasks(tasks: Iterable[NewTask | Mapping[str, Any]], limits: ClientSettings) -> statements.ManyTasks:
    """What creates tasks given as `NewTask`s or as mappings of its parameters. Raises `InvalidTask` and says which is
    wrong.
    """
    given: list[NewTask | Mapping[str, Any]] = []
    try:
        given.extend(tasks)
    except InvalidTask as error:
        _say_which(error, len(given))
        raise
    chunks = [given[first : first + statements.MANY_TASKS] for first in range(0, len(given), statements.MANY_TASKS)]
    encoded: list[str] = []
    for chunk in chunks:
        together = _encoded_together(chunk, limits)
        if together is None:
            return statements.enqueue_many(list(as_new_tasks(given, limits)))
        encoded.append(together)
    return statements.enqueue_plain(encoded, len(given))


def _encoded_together(tasks: list[Any], limits: ClientSettings) -> str | None:
    """Tasks with no more than a type, payload, queue and priority as one JSON array, which takes a fifth of the time.

    None if one of them has more, or may be wrong: looked at one by one, it is told which, and what is wrong with it.
    """
    for task in tasks:
        if task.__class__ is not dict or task.get("payload").__class__ is not dict or not task.keys() <= _TOGETHER:
            return None
    try:
        for type, queue, priority, _ in {
            (task["type"], task.get("queue"), priority := task.get("priority"), priority.__class__) for task in tasks
        }:  # with its class, for 1, True and 1.0 are one in a set
            checked = NewTask(type, queue=queue, priority=priority)
            if checked.type != type or checked.fields.get("priority") != priority:  # a handler, a priority's name
                return None
        encoded = orjson.dumps(tasks)
    except (InvalidTask, KeyError, TypeError, ValueError):
        return None
    if len(encoded) > limits.max_payload_bytes:  # then each is shorter
        return None
    text = encoded.decode()
    return None if may_be_unsound(text, tasks) else text


def _from_mapping(given: Any) -> NewTask:
    if given.__class__ is not dict and not isinstance(given, Mapping):
        raise InvalidTask(f"a task is a NewTask or a mapping, not {given!r:.200}")
    if "type" not in given:
        raise InvalidTask("it has no type")
    try:
        return NewTask(**given)
    except TypeError:
        for name in given:
            if not isinstance(name, str):
                raise InvalidTask(f"the key {name!r} is no text") from None
        raise


def retry_options(id: int, payload: Any, limits: ClientSettings, **options: Any) -> dict[str, Any]:
    """The options of taskflow.retry_task, checked like those of a new task."""
    checked = NewTask("retry", payload, **options)
    check_size(checked, limits)
    if payload is not None:
        return {"payload": orjson.Fragment(checked.encoded_payload), **checked.fields}
    return checked.fields


class WaitSchedule:
    """When to look again: 10 ms at first, half as long again each time, at most half a second."""

    def __init__(self, id: int, timeout: float | timedelta | None) -> None:
        self._id = id
        self._timeout = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        self._started = time.monotonic()
        self._pause = FIRST_PAUSE_SECONDS

    def next_pause(self, state: str) -> float:
        """Seconds to sleep. Raises `WaitTimeout` when the time is up; `state` is for its message."""
        pause = self._pause
        self._pause = min(pause * 1.5, LONGEST_PAUSE_SECONDS)
        if self._timeout is None:
            return pause
        left = self._timeout - (time.monotonic() - self._started)
        if left <= 0:
            raise WaitTimeout(f"task {self._id} is {state} after {self._timeout:g} seconds")
        return min(pause, left)
