"""The JSON schemas of payloads, so that what the API says of a wrong one names the rule and the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]


def one_of(first: str, second: str) -> Callable[[Schema], None]:
    """For a model that needs one of two fields and takes no more: they are optional in Python alone."""

    def extend(schema: Schema) -> None:
        without_null(schema)
        none = {"properties": {second: {"type": "null"}}}
        schema |= {"if": {"required": [first]}, "then": none, "else": {"required": [second]}}

    return extend


def at_least_one_of(first: str, second: str) -> Callable[[Schema], None]:
    """For a model that needs one of two fields, or both."""

    def extend(schema: Schema) -> None:
        without_null(schema)
        schema |= {"if": {"not": {"required": [first]}}, "then": {"required": [second]}}

    return extend


def without_null(schema: Schema) -> None:
    """A field that may be left out need not be null as well: "null or a path" would say of a wrong path only that it
    is neither."""
    for field in schema["properties"].values():
        choices = [choice for choice in field.get("anyOf", ()) if choice != {"type": "null"}]
        if len(choices) == 1:
            del field["anyOf"]
            field |= choices[0]
