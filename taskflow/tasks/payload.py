"""Payloads: as the JSON that is stored, and as the model that a handler wants."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Set
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from taskflow.errors import FieldProblem, InvalidPayload, InvalidTask

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel, TypeAdapter, ValidationError

    PayloadLike = Mapping[str, Any] | BaseModel | DataclassInstance

PLAIN = (Any, object, dict, Mapping, MutableMapping, typing.Dict, typing.Mapping)  # noqa: UP006
MAX_DEPTH = 250  # what orjson writes
MASK = "***"  # what pydantic writes instead of a secret is made of asterisks
Place = tuple[int | str, ...]  # in JSON, as keys and indexes
JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def encode_json(value: Any, what: str = "payload") -> str:
    """The value as JSON that jsonb can hold. Raises `InvalidTask` and says where, if it cannot be one.

    The text is checked first, so that a sound value costs no walk: orjson writes NaN as null, and a NUL as \\u0000.
    """
    try:
        encoded = orjson.dumps(value).decode()
    except (TypeError, ValueError) as error:
        pointer, problem = next(_problems(value), ("", str(error)))
        raise InvalidTask(f"{what}{_at(pointer)} cannot be stored as JSON: {problem}") from error
    if may_be_unsound(encoded, value):
        for pointer, problem in _problems(value):
            raise InvalidTask(f"{what}{_at(pointer)} cannot be stored as JSON: {problem}")
    return encoded


def may_be_unsound(encoded: str, value: Any) -> bool:
    """Whether this JSON of a value may stand for what is none: orjson writes NaN as null, and jsonb holds no NUL."""
    return "\\u0000" in encoded or ("null" in encoded and orjson.loads(encoded) != value)  # far faster than a walk


def encode_payload(payload: Any, type: str) -> str:
    """The JSON to store for a payload of a type whose model is not known here: a mapping, or a model's instance."""
    if isinstance(payload, dict):
        return encode_json(payload)
    if isinstance(payload, Mapping):
        return encode_json(dict(payload))
    if _is_object_type(payload.__class__):
        return _model_of(payload.__class__).encode(payload, type)
    raise InvalidTask(f"payload must be a mapping, a pydantic model or a dataclass instance, not {payload!r:.200}")


@lru_cache(maxsize=1000)
def _model_of(annotation: Any) -> PayloadModel:
    return PayloadModel(annotation)


def _at(pointer: str) -> str:
    return f" at {pointer}" if pointer else ""


def _problems(value: Any, pointer: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Where a value is no JSON, as pairs of JSON pointer and reason; the slow way, for error messages."""
    if depth > MAX_DEPTH:
        yield f"{pointer[:60]}...", f"it is nested more than {MAX_DEPTH} levels deep, or contains itself"
    elif isinstance(value, float):
        yield from _odd_numbers(value, pointer)
    elif isinstance(value, str) and "\x00" in value:
        yield pointer, "PostgreSQL cannot store the character NUL (\\u0000)"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield pointer, f"the key {key!r} is no text"
            else:
                yield from _problems(key, pointer, depth + 1)
                yield from _problems(item, f"{pointer}/{_escape(key)}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _problems(item, f"{pointer}/{index}", depth + 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _problems(getattr(value, field.name), f"{pointer}/{_escape(field.name)}", depth + 1)
    else:
        try:
            orjson.dumps(value)
        except (TypeError, ValueError) as error:
            yield pointer, str(error)


def _odd_numbers(value: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """The same for NaN and infinity alone, in what a model makes of an instance before it is written as JSON."""
    if isinstance(value, float):
        if not math.isfinite(value):
            yield pointer, f"{value} is no JSON number"
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _odd_numbers(item, f"{pointer}/{_escape(str(key))}")
    elif isinstance(value, list | tuple | Set):
        for index, item in enumerate(value):
            yield from _odd_numbers(item, f"{pointer}/{index}")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


class PayloadModel:
    """The model of a payload: a pydantic model, a dataclass, a TypedDict, a dict of typed values, or a union."""

    def __init__(self, annotation: Any) -> None:
        from pydantic import TypeAdapter

        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    @classmethod
    def for_annotation(cls, annotation: Any) -> PayloadModel | None:
        """The model an annotation asks for, None where any object will do. Raises `TypeError` if it means no object."""
        if _is_alias(annotation):
            return cls.for_annotation(annotation.__value__)
        if annotation in PLAIN or annotation in (dict[str, Any], Mapping[str, Any], MutableMapping[str, Any]):
            return None
        if not _is_object_type(annotation):
            raise TypeError(
                f"a payload is a JSON object, so it cannot be annotated {annotation!r}: "
                "use dict, a pydantic model, a dataclass or a TypedDict"
            )
        from pydantic.errors import PydanticUserError

        try:
            return cls(annotation)
        except PydanticUserError as error:
            raise TypeError(f"the payload's annotation {annotation!r} cannot be validated: {error.message}") from error

    def parse(self, payload: dict[str, Any], type: str) -> Any:
        """The object for a stored payload. Raises `InvalidPayload` with every problem."""
        return self.parse_json(orjson.dumps(payload), type)

    def parse_json(self, encoded: bytes | str, type: str) -> Any:
        """The same from JSON text; JSON rules hold, so a strict model takes a date from a text."""
        from pydantic import ValidationError

        try:
            return self._adapter.validate_json(encoded)
        except ValidationError as error:
            problems = _field_problems(error, orjson.loads(encoded))
            raise InvalidPayload(f"The payload does not fit the type {type!r}. {_told(problems)}", problems) from None

    def encode(self, payload: Any, type: str) -> str:
        """The JSON to store for a dict or an instance of the model, which is checked exactly as it will be at run.

        Raises `InvalidPayload` if it does not fit the model, or is an instance that its JSON is not read back as;
        `InvalidTask` if it cannot be stored. Of a subclass of the model is stored what the model knows, and nothing of
        private attributes, computed fields and those with `exclude`.
        """
        if isinstance(payload, Mapping):
            encoded = encode_json(payload if isinstance(payload, dict) else dict(payload))
            self.parse_json(encoded, type)
        else:
            encoded = self._dump(payload, type)
            self._check_read_back(payload, encoded, type)
        return encoded

    def _dump(self, instance: Any, type: str) -> str:
        from pydantic_core import PydanticSerializationError

        try:
            encoded = self._adapter.dump_json(instance, by_alias=True, round_trip=True, warnings="error").decode()
            if "null" in encoded:  # pydantic too writes NaN as null: only what it was made from can tell
                written = self._adapter.dump_python(instance, by_alias=True, round_trip=True, warnings="error")
                for pointer, problem in _odd_numbers(written):
                    raise InvalidTask(f"payload{_at(pointer)} cannot be stored as JSON: {problem}")
        except PydanticSerializationError as error:
            raise InvalidPayload(f"The payload {instance!r} does not fit the type {type!r}. {error}") from error
        if "\\u0000" in encoded:
            encode_json(orjson.loads(encoded))
        return encoded

    def _check_read_back(self, instance: Any, encoded: str, type: str) -> None:
        """Raise `InvalidPayload` if the handler would get something else than the instance.

        What is read is compared as JSON: two objects may differ where the model is content (a private attribute, a text
        for `Path | str`, an offset for a zone), but then they are written alike. Only of secrets that proves nothing.
        A model may also put right what it reads, such as a dataclass's field, which nobody has checked before: that
        depends on what was stored, and reading it once more changes nothing.
        """
        try:
            stored = orjson.loads(encoded)
        except orjson.JSONDecodeError as error:  # NaN, from a model with ser_json_inf_nan="constants"
            raise InvalidTask(f"payload cannot be stored as JSON: {error}") from error
        read = self.parse(stored, type)
        again = self._written(read)
        problems = []
        if again != encoded:
            found = orjson.loads(again)
            problems = [
                FieldProblem(_pointer_of(place), "changed", f"{was!r:.100} is read back as {becomes!r:.100}")
                for place, was, becomes in _changes(stored, found)
                if self._is_unread(stored, place, becomes) or self._read_at(found, place) != becomes
            ]
        if MASK in encoded:
            given, kept = (
                dict(_secrets(self._adapter.dump_python(each, by_alias=True, round_trip=True, warnings=False)))
                for each in (instance, read)
            )
            problems += [
                FieldProblem(pointer, "secret", "a secret, which its model writes as asterisks")
                for pointer, secret in given.items()
                if kept.get(pointer) != secret
            ]
        if problems:
            raise InvalidPayload(
                f"The payload would reach the handler of the type {type!r} as something else. {_told(problems)}. "
                "Let the model read what it writes (`alias` instead of `validation_alias` or `serialization_alias`; "
                "for a secret a serializer with when_used='json'), or enqueue a dict of what it reads",
                problems,
            )

    def _written(self, instance: Any) -> str:
        return self._adapter.dump_json(instance, by_alias=True, round_trip=True, warnings=False).decode()

    def _is_unread(self, stored: Any, place: Place, becomes: Any) -> bool:
        """Whether the same is read at a place whatever is stored there."""
        keys = [at for at, part in enumerate(place) if isinstance(part, str)]
        if not keys:
            return False
        other = orjson.loads(orjson.dumps(stored))
        _value_at(other, place[: keys[-1]])[place[keys[-1]]] = [[{"other": 1}]]
        return bool(self._read_at(other, place) == becomes)

    def _read_at(self, stored: Any, place: Place) -> Any:
        """What is read of JSON at a place, as JSON; `...` if there is nothing, or it does not fit."""
        try:
            return _value_at(orjson.loads(self._written(self.parse(stored, ""))), place)
        except Exception:  # noqa: BLE001  (a validator's own error too says that it was read)
            return ...

    @cached_property
    def _schema(self) -> dict[str, Any]:
        return {"$schema": JSON_SCHEMA_DIALECT, **self._adapter.json_schema(by_alias=True, mode="validation")}

    def json_schema(self) -> dict[str, Any]:
        """The model as JSON Schema 2020-12."""
        return self._schema


def _is_object_type(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_object_type(typing.get_args(annotation)[0])
    if origin is typing.Union or type(annotation).__name__ == "UnionType":
        return all(_is_object_type(member) for member in typing.get_args(annotation))
    kind = origin or annotation
    if _is_alias(kind):
        return _is_object_type(kind.__value__)
    return isinstance(kind, type) and (
        issubclass(kind, Mapping)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or hasattr(kind, "__pydantic_validator__")
    )


def _is_alias(annotation: Any) -> bool:
    return type(annotation).__name__ == "TypeAliasType"  # made by ``type Name = ...`` or typing_extensions


def _told(problems: Iterable[FieldProblem]) -> str:
    return "; ".join(f"{problem.pointer or 'the payload'}: {problem.detail}" for problem in problems)


def _changes(stored: Any, read: Any, place: Place = ()) -> Iterator[tuple[Place, Any, Any]]:
    """Where JSON says something else after it was read: what is there only once is a default, or of a subclass."""
    if stored == read:
        return
    if isinstance(stored, dict) and isinstance(read, dict):
        for key in [key for key in stored if key in read]:
            yield from _changes(stored[key], read[key], (*place, key))
    elif isinstance(stored, list) and isinstance(read, list) and len(stored) == len(read):
        if sorted(map(orjson.dumps, stored)) != sorted(map(orjson.dumps, read)):  # a set is written in any order
            for index, (was, becomes) in enumerate(zip(stored, read, strict=True)):
                yield from _changes(was, becomes, (*place, index))
    else:
        yield place, stored, read


def _value_at(document: Any, place: Iterable[int | str]) -> Any:
    for part in place:
        document = document[part]
    return document


def _pointer_of(place: Place) -> str:
    return "".join(f"/{_escape(str(part))}" for part in place)


def _secrets(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """The secrets in what a model makes of an instance; none of a set, which has no places."""
    from pydantic import Secret, SecretBytes, SecretStr

    if isinstance(value, Secret | SecretStr | SecretBytes):
        yield pointer, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(item, f"{pointer}/{_escape(str(key))}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secrets(item, f"{pointer}/{index}")


def _field_problems(error: ValidationError, document: Any) -> tuple[FieldProblem, ...]:
    return tuple(
        FieldProblem(_pointer(item["loc"], item["type"], document), item["type"], item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _pointer(location: tuple[int | str, ...], code: str, document: Any) -> str:
    """The RFC 6901 pointer for pydantic's location, without the parts that name a union's member, not a place."""
    pointer, here = "", document
    for number, part in enumerate(location, 1):
        if _contains(here, part):
            here = here[part]
        elif not (code == "missing" and number == len(location)):
            continue
        pointer += f"/{_escape(str(part))}"
    return pointer


def _contains(container: Any, part: int | str) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container
