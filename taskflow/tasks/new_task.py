"""A task to be stored, checked and in the form that SQL takes, and what storing it answers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn, TypedDict, Unpack

import orjson

from taskflow.errors import LONGEST_SECONDS, InvalidTask
from taskflow.tasks.encoding import encode_json
from taskflow.tasks.handler import AnyHandler, Handler, PriorityLike
from taskflow.tasks.limits import check_key, check_max_attempts, check_queue, check_type, priority_of, seconds_of
from taskflow.tasks.payload import encode_payload
from taskflow.tasks.retry import RetryPolicy, Strategy
from taskflow.tasks.texts import is_storable

OnConflict = Literal["skip", "error", "replace"]


class EnqueueOptions(TypedDict, total=False):
    """What can be said about a task besides its type and payload; `Client.enqueue` explains it. None, or left out: the
    default."""

    queue: str | None
    priority: PriorityLike | None
    run_at: datetime | None
    delay: float | timedelta | None
    unique_key: str | None
    on_conflict: OnConflict | None
    unique_for: float | timedelta | None
    max_attempts: int | None
    timeout: float | timedelta | None
    retry: Strategy | RetryPolicy | None
    concurrency_key: str | None
    metadata: Mapping[str, Any] | None
    tags: list[str] | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The task that now stands for what was enqueued.

    - `id`: the task's id.
    - `created`: False if its unique key was taken already: then this is the task that has it.
    - `state`: its state: "pending" or "scheduled" of a new one, any of a task that was there.
    """

    id: int
    created: bool
    state: str


class NewTask:
    """A task to enqueue, made beforehand: for `Client.enqueue_new`, `Client.enqueue_many` and `Client.copy`.

    Type, payload and options are those of `Client.enqueue`. They are checked here: raises `InvalidTask` or
    `InvalidPayload`, so one that exists can be stored as far as can be told without a database.
    """

    __slots__ = ("encoded_payload", "fields", "type")

    def __init__(self, /, type: str | AnyHandler, payload: Any = None, **options: Unpack[EnqueueOptions]) -> None:
        given: Any = options
        try:
            fields = _stored(given) if given else {}
            if isinstance(type, Handler):
                self.type: str = type.type
                self.encoded_payload: str = type.encode({} if payload is None else payload)
                fields = _with_defaults_of(type, fields)
            else:
                self.type = check_type(type)
                self.encoded_payload = encode_payload({} if payload is None else payload, self.type)
        except ValueError as error:
            raise InvalidTask(str(error)) from error
        self.fields: dict[str, Any] = fields
        """The given options under the names of the table's columns, and of enqueue's options."""

    @property
    def payload_bytes(self) -> int:
        """The length of the payload as JSON, in bytes of UTF-8."""
        encoded = self.encoded_payload
        return len(encoded) if encoded.isascii() else len(encoded.encode())

    def __repr__(self) -> str:
        return f"<NewTask {self.type!r} {self.fields}>"


def _stored(options: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if value is None and (name in _CHECKS or name == "retry"):
            continue
        if name == "retry":
            fields.update(_retry_fields(RetryPolicy.of(value)))
        elif name in _CHECKS:
            fields[name] = _CHECKS[name](value)
        else:
            _refuse_unknown(name)
    if "delay" in fields and "run_at" in fields:
        raise ValueError("give run_at or delay, not both")
    if "unique_for" in fields and "unique_key" not in fields:
        raise ValueError("unique_for needs a unique_key")
    return fields


def _with_defaults_of(handler: AnyHandler, fields: dict[str, Any]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"queue": handler.queue, "priority": handler.priority}
    if handler.max_attempts is not None:
        defaults["max_attempts"] = handler.max_attempts
    if handler.timeout is not None:
        defaults["timeout"] = handler.timeout
    if "retry_strategy" not in fields:
        defaults.update(_retry_fields(handler.retry))
    return {**defaults, **fields}


def _retry_fields(policy: RetryPolicy | None) -> dict[str, Any]:
    if policy is None:
        return {}
    fields = {
        "retry_strategy": policy.strategy,
        "retry_delay": policy.delay_seconds,
        "max_retry_delay": policy.max_delay_seconds,
    }
    return {name: value for name, value in fields.items() if value is not None}


def check_run_at(value: object) -> datetime:
    """A time with a zone, in UTC."""
    if not isinstance(value, datetime):
        raise ValueError(f"run_at must be a datetime, not {value!r}")
    if value.utcoffset() is None:
        raise ValueError(
            f"run_at {value.isoformat()} has no time zone, so nobody knows when that is: "
            "use datetime.now(timezone.utc) + ..., or .replace(tzinfo=ZoneInfo('Europe/Berlin'))"
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"run_at {value.isoformat()} is out of range") from None


def _check_on_conflict(value: object) -> str:
    if value not in ("skip", "error", "replace"):
        raise ValueError(f"on_conflict must be skip, error or replace, not {value!r}")
    return str(value)


def _check_metadata(value: object) -> orjson.Fragment:
    if not isinstance(value, Mapping):
        raise ValueError(f"metadata must be a mapping, not {value!r}")
    return orjson.Fragment(encode_json(dict(value), "metadata"))


def _check_tags(value: object) -> list[str]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(tag, str) for tag in value):
        raise ValueError(f"tags must be a list of texts, not {value!r}")
    if not all(map(is_storable, value)):
        raise ValueError("a tag contains NUL or half a surrogate pair, which PostgreSQL cannot store")
    return list(value)


def _refuse_unknown(name: str) -> NoReturn:
    known = sorted([*_CHECKS, "retry"])
    meant = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {meant[0]!r}?" if meant else f"the options are {', '.join(known)}"
    raise ValueError(f"a task has no option {name!r}: {hint}")


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": check_queue,
    "priority": lambda value: int(priority_of(value)),
    "run_at": check_run_at,
    "delay": lambda value: seconds_of(value, "delay", most=LONGEST_SECONDS),
    "unique_key": lambda value: check_key(value, "unique_key"),
    "on_conflict": _check_on_conflict,
    "unique_for": lambda value: seconds_of(value, "unique_for", most=LONGEST_SECONDS),
    "max_attempts": check_max_attempts,
    "timeout": lambda value: seconds_of(value, "timeout", positive=True),
    "concurrency_key": lambda value: check_key(value, "concurrency_key"),
    "metadata": _check_metadata,
    "tags": _check_tags,
}
