"""JSON schemas of the models, all from one run of pydantic, so that equal names cannot meet."""

from __future__ import annotations

from collections.abc import Iterable
from types import UnionType
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

REFERENCE = "#/components/schemas/{model}"
Schema = dict[str, Any]
Model = type[BaseModel] | UnionType


class Schemas:
    """The schemas of some models. `definitions` is what the document has under components/schemas."""

    def __init__(self, models: Iterable[Model]) -> None:
        # In the mode of validation, since a field with a default may be absent from an answer.
        mode: JsonSchemaMode = "validation"
        wanted = [(model, mode) for model in dict.fromkeys(one for model in models for one in choices(model))]
        references, root = models_json_schema(wanted, ref_template=REFERENCE)
        self._references = {model: schema for (model, _), schema in references.items()}
        self.definitions: dict[str, Schema] = root.get("$defs", {})

    def of(self, model: Model) -> Schema:
        """The reference to the schema of `model`, or to those of its choices."""
        found = [dict(self._references[choice]) for choice in choices(model)]
        return found[0] if len(found) == 1 else {"anyOf": found}

    def inline(self, model: type[BaseModel]) -> Schema:
        """The schema of `model` itself."""
        return self.resolve(self.of(model))

    def resolve(self, schema: Schema) -> Schema:
        """What `schema` refers to, or `schema` if it refers to nothing."""
        return self.definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def choices(model: Model) -> tuple[type[BaseModel], ...]:
    """The models of which `model` is one: several where it is written `A | B`."""
    return get_args(model) if isinstance(model, UnionType) else (model,)


def required_of(schema: Schema) -> set[str]:
    """The fields that an object must have; where one may have an older name, its present one."""
    found = set(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        found.update(part.get("anyOf", [{}])[0].get("required", ()))
    return found


def without_null(schema: Schema) -> Schema:
    """`schema` of a thing that is left out instead of being null, such as a query parameter."""
    rest = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    if "anyOf" in rest:
        others = [choice for choice in rest.pop("anyOf") if choice != {"type": "null"}]
        rest |= others[0] if len(others) == 1 else {"anyOf": others}
    return rest
