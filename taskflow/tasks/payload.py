"""Payloads: as the JSON that is stored, and as the model that a handler wants."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from taskflow.errors import FieldProblem, InvalidPayload, InvalidTask
from taskflow.tasks.encoding import encode_json, refuse_odd_numbers
from taskflow.tasks.pointers import Place, pointer
from taskflow.tasks.read_back import lost_in_reading

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from pydantic import BaseModel, TypeAdapter, ValidationError

    PayloadLike = Mapping[str, Any] | BaseModel | DataclassInstance

PLAIN = (Any, object, dict, Mapping, MutableMapping, typing.Dict, typing.Mapping)  # noqa: UP006
JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def encode_payload(payload: Any, type: str) -> str:
    """The JSON to store for a payload of a type whose model is not known here: a mapping, or a model's instance."""
    if isinstance(payload, dict):
        return encode_json(payload)
    if isinstance(payload, Mapping):
        return encode_json(dict(payload))
    if _is_object_type(payload.__class__):
        return _model_of(payload.__class__).encode(payload, type)
    raise InvalidTask(
        f"payload must be a mapping, a pydantic model or a dataclass instance, not {payload.__class__.__name__}"
    )


@lru_cache(maxsize=1000)
def _model_of(annotation: Any) -> PayloadModel:
    return PayloadModel(annotation)


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
            encoded = self._write(instance)
            if "null" in encoded:  # pydantic too writes NaN as null: only what it was made from can tell
                refuse_odd_numbers(
                    self._adapter.dump_python(instance, by_alias=True, round_trip=True, warnings="error")
                )
        except PydanticSerializationError:  # its own words would quote values
            problems = tuple(self._unwritten(instance))
            raise InvalidPayload(f"The payload does not fit the type {type!r}. {_told(problems)}", problems) from None
        if "\\u0000" in encoded:
            encode_json(orjson.loads(encoded))
        return encoded

    def _write(self, instance: Any, include: set[str] | None = None) -> str:
        return self._adapter.dump_json(
            instance, include=include, by_alias=True, round_trip=True, warnings="error"
        ).decode()

    def _unwritten(self, instance: Any) -> Iterator[FieldProblem]:
        """Which fields of an instance the model cannot write as JSON, or does not, since their values are of another
        type than it says; the whole where it is none of these."""
        found: list[str] = []
        if self._writes(instance, set()):  # else it is no instance of the model
            found = [name for name in _field_names(instance) if not self._writes(instance, {name})]
        values = {pointer((name,)): getattr(instance, name) for name in found} or {"": instance}
        for place, value in values.items():
            yield FieldProblem(place, "unwritten", f"the model does not write this {value.__class__.__name__} as JSON")

    def _writes(self, instance: Any, fields: set[str]) -> bool:
        from pydantic_core import PydanticSerializationError

        try:
            self._write(instance, fields)
        except PydanticSerializationError:
            return False
        return True

    def _check_read_back(self, instance: Any, encoded: str, type: str) -> None:
        """Raise `InvalidPayload` if the handler would get something else than the instance."""
        try:
            stored = orjson.loads(encoded)
        except orjson.JSONDecodeError as error:  # NaN, from a model with ser_json_inf_nan="constants"
            raise InvalidTask(f"payload cannot be stored as JSON: {error}") from error
        problems = tuple(lost_in_reading(self._adapter, instance, encoded, self.parse(stored, type)))
        if problems:
            raise InvalidPayload(
                f"The payload would reach the handler of the type {type!r} as something else. {_told(problems)}. "
                "Let the model read what it writes (`alias` instead of `validation_alias` or `serialization_alias`; "
                "for a secret a serializer with when_used='json'), or enqueue a dict of what it reads",
                problems,
            )

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


def _field_names(instance: Any) -> list[str]:
    if dataclasses.is_dataclass(instance):
        return [field.name for field in dataclasses.fields(instance)]
    return list(vars(instance))


def _field_problems(error: ValidationError, document: Any) -> tuple[FieldProblem, ...]:
    return tuple(
        FieldProblem(pointer(_place(item["loc"], item["type"], document)), item["type"], item["msg"])
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    )


def _place(location: Place, code: str, document: Any) -> Place:
    """Pydantic's location without the parts that name a union's member, not a place in the document."""
    place: list[int | str] = []
    here = document
    for number, part in enumerate(location, 1):
        if _contains(here, part):
            here = here[part]
        elif not (code == "missing" and number == len(location)):
            continue
        place.append(part)
    return tuple(place)


def _contains(container: Any, part: int | str) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container
