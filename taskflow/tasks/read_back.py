"""Whether a handler would get what was enqueued: an instance, written as JSON and read back by its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from taskflow.errors import FieldProblem
from taskflow.tasks.pointers import Place, pointer, value_at

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MASK = "***"  # what pydantic writes instead of a secret is made of asterisks


def lost_in_reading(model: TypeAdapter[Any], instance: Any, encoded: str, read: Any) -> Iterator[FieldProblem]:
    """What of an instance, written as `encoded`, its model has read as something else.

    What is read is compared as JSON: two objects may differ where the model is content (a private attribute, a text
    for `Path | str`, an offset for a zone), but then they are written alike. Only of secrets that proves nothing.
    """
    again = _written(model, read)
    if again != encoded:
        yield from _changed(model, orjson.loads(encoded), orjson.loads(again))
    if MASK in encoded:
        given, kept = (
            dict(_secrets(model.dump_python(each, by_alias=True, round_trip=True, warnings=False)))
            for each in (instance, read)
        )
        for place, secret in given.items():
            if kept.get(place) != secret:
                yield FieldProblem(pointer(place), "secret", "a secret, which its model writes as asterisks")


def _changed(model: TypeAdapter[Any], stored: Any, found: Any) -> Iterator[FieldProblem]:
    """What was `stored` and is `found` otherwise.

    But a model may put right what it reads, such as a dataclass's field, which nobody has checked before: that depends
    on what was stored, and reading it once more changes nothing.
    """
    for place, becomes in _differences(stored, found):
        if _is_unread(model, stored, place, becomes) or _read_at(model, found, place) != becomes:
            yield FieldProblem(pointer(place), "changed", "it is written in one way and read in another")


def _differences(stored: Any, found: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Where JSON says something else after it was read, and what.

    What is there only once is a default, or of a subclass.
    """
    if stored == found:
        return
    if isinstance(stored, dict) and isinstance(found, dict):
        for key in [key for key in stored if key in found]:
            yield from _differences(stored[key], found[key], (*place, key))
    elif isinstance(stored, list) and isinstance(found, list) and len(stored) == len(found):
        if sorted(map(orjson.dumps, stored)) != sorted(map(orjson.dumps, found)):  # a set is written in any order
            for index, (was, becomes) in enumerate(zip(stored, found, strict=True)):
                yield from _differences(was, becomes, (*place, index))
    else:
        yield place, found


def _is_unread(model: TypeAdapter[Any], stored: Any, place: Place, becomes: Any) -> bool:
    """Whether the same is read at a place whatever is stored there."""
    keys = [at for at, part in enumerate(place) if isinstance(part, str)]
    if not keys:
        return False
    other = orjson.loads(orjson.dumps(stored))
    value_at(other, place[: keys[-1]])[place[keys[-1]]] = [[{"other": 1}]]
    return bool(_read_at(model, other, place) == becomes)


def _read_at(model: TypeAdapter[Any], stored: Any, place: Place) -> Any:
    """What is read of JSON at a place, as JSON; `...` if there is nothing, or it does not fit."""
    try:
        return value_at(orjson.loads(_written(model, model.validate_json(orjson.dumps(stored)))), place)
    except Exception:  # noqa: BLE001  (a validator's own error too says that it was read)
        return ...


def _written(model: TypeAdapter[Any], instance: Any) -> str:
    return model.dump_json(instance, by_alias=True, round_trip=True, warnings=False).decode()


def _secrets(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """The secrets in what a model makes of an instance; none of a set, which has no places."""
    from pydantic import Secret, SecretBytes, SecretStr

    if isinstance(value, Secret | SecretStr | SecretBytes):
        yield place, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, (*place, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, (*place, index))
