"""What every request and answer is made of. Bodies are strict: a string is no number, an unknown field is refused."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from taskflow.errors import LONGEST_SECONDS
from taskflow.queue_names import QUEUE_PATTERN
from taskflow.tasks.task import PRIORITY_NAMES, Priority

MONTH_SECONDS = 2_592_000
CENTURY_SECONDS = int(LONGEST_SECONDS)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2199, 12, 31, tzinfo=UTC)
RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _whole(value: Any) -> Any:
    """An integer is a number without a fraction to JSON Schema, 1.0 too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _priority(value: Any) -> Any:
    value = _whole(value)
    if isinstance(value, str) and value.upper() in Priority.__members__:
        return int(Priority[value.upper()])
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 3:
        return value
    if value is None:
        return None
    raise PydanticCustomError("priority", "must be 0 to 3, or one of low, normal, high, critical")


def _time(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and RFC3339.fullmatch(value):
        try:
            # fromisoformat() reads microseconds: what is finer is cut.
            time = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.upper())).astimezone(UTC)
        except (ValueError, OverflowError):
            raise PydanticCustomError("time", "is no date and time that exists") from None
        if time > LATEST:
            raise PydanticCustomError("time", "must be before the year 2200")
        return time
    raise PydanticCustomError("time", "must be an RFC 3339 time with a zone, such as 2030-01-31T09:30:00Z")


def lower(value: Any) -> Any:
    """Words may be written in any case."""
    return value.lower() if isinstance(value, str) else value


PriorityField = Annotated[
    int | None,
    BeforeValidator(_priority),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 3},
                {"type": "string", "enum": list(PRIORITY_NAMES.values())},
                {"type": "null"},
            ]
        }
    ),
]
TimeField = Annotated[
    datetime | None,
    BeforeValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
]
WHOLE = BeforeValidator(_whole)  # last in an annotation: bounds that follow it are not documented
Integer = Annotated[int, WHOLE]
QueueName = Annotated[str, Field(pattern=QUEUE_PATTERN)]
Key = Annotated[str, Field(min_length=1, max_length=500)]
Delay = Annotated[float, Field(ge=0, le=MONTH_SECONDS)]
Object = dict[str, Any]


def takes_older(names: Mapping[str, str]) -> Callable[[dict[str, Any]], None]:
    """For `json_schema_extra` of a body that takes fields under older names too: older → present name."""

    def describe(schema: dict[str, Any]) -> None:
        for older, name in names.items():
            if name not in schema["properties"]:
                continue
            schema["properties"][older] = schema["properties"][name] | {
                "title": older,
                "description": f"the older name of `{name}`",
                "deprecated": True,
            }
            if name in schema.get("required", ()):
                schema["required"].remove(name)
                schema.setdefault("allOf", []).append({"anyOf": [{"required": [name]}, {"required": [older]}]})

    return describe


class Body(BaseModel):
    """The root of all requests."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Nothing(Body):
    """A request that takes no fields."""


class Query(BaseModel):
    """The root of all query strings: texts are read as the type of their field. A field that is a list may be given
    several times; one that is a dict is given as `name[key]=value`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoQuery(Query):
    """An address that takes no parameters."""


class Page(Query):
    """The parameters of every list."""

    limit: int = Field(50, ge=1, le=200, description="how many at most")
    cursor: str | None = Field(None, max_length=500, description="`next_cursor` of the page before")


class Answer(BaseModel):
    """The root of all answers. Answers are made as plain objects, since that is faster; these models describe them in
    the OpenAPI document, and tests hold the answers to them."""

    model_config = ConfigDict(extra="forbid")


def Older(name: str) -> Any:  # noqa: N802  (used as pydantic's Field is)
    """A field of an answer that repeats `name` for older clients."""
    return Field(description=f"the older name of `{name}`", json_schema_extra={"deprecated": True, "readOnly": True})
