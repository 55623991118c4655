"""Python values as the JSON that jsonb can hold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Set
from typing import Any

import orjson

from taskflow.errors import InvalidTask
from taskflow.tasks.pointers import Place, pointer

MAX_DEPTH = 250  # what orjson writes
MAX_SHOWN = 100  # characters of a pointer


def encode_json(value: Any, what: str = "payload") -> str:
    """The value as JSON that jsonb can hold. Raises `InvalidTask` and says where, if it cannot be one.

    The text is checked first, so that a sound value costs no walk: orjson writes NaN as null, and a NUL as \\u0000.
    """
    try:
        encoded = orjson.dumps(value).decode()
    except (TypeError, ValueError) as error:
        raise _refusal(what, *next(_problems(value), ((), str(error)))) from error
    if may_be_unsound(encoded, value):
        for problem in _problems(value):
            raise _refusal(what, *problem)
    return encoded


def may_be_unsound(encoded: str, value: Any) -> bool:
    """Whether this JSON of a value may stand for what is none: orjson writes NaN as null, and jsonb holds no NUL."""
    return "\\u0000" in encoded or ("null" in encoded and orjson.loads(encoded) != value)  # far faster than a walk


def refuse_odd_numbers(value: Any, what: str = "payload") -> None:
    """Raise `InvalidTask` for NaN and infinity alone, in what a model makes of an instance before it is written."""
    for problem in _odd_numbers(value):
        raise _refusal(what, *problem)


def _refusal(what: str, place: Place, problem: str) -> InvalidTask:
    at = pointer(place)
    shown = f" at {at if len(at) <= MAX_SHOWN else at[: MAX_SHOWN - 3] + '...'}" if at else ""
    return InvalidTask(f"{what}{shown} cannot be stored as JSON: {problem}")


def _problems(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Where a value is no JSON, and why; the slow way, for error messages."""
    if len(place) > MAX_DEPTH:
        yield place, f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"
    elif isinstance(value, float):
        yield from _odd_numbers(value, place)
    elif isinstance(value, str) and "\x00" in value:
        yield place, "PostgreSQL cannot store the character NUL (\\u0000)"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield place, f"the key {key!r} is no text"
            else:
                yield from _problems(key, place)
                yield from _problems(item, (*place, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _problems(item, (*place, index))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _problems(getattr(value, field.name), (*place, field.name))
    else:
        try:
            orjson.dumps(value)
        except (TypeError, ValueError) as error:
            yield place, str(error)


def _odd_numbers(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    if isinstance(value, float):
        if not math.isfinite(value):
            yield place, f"{value} is no JSON number"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _odd_numbers(item, (*place, key))
    elif isinstance(value, list | tuple | Set):
        for index, item in enumerate(value):
            yield from _odd_numbers(item, (*place, index))
