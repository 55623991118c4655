"""Parameters of operations: what the path, the query string and the headers of a request may say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskflow.web.openapi.endpoints import Endpoint
from taskflow.web.openapi.schemas import Schema, Schemas, without_null

Parameter = dict[str, Any]
MAX_KEY_LENGTH = 255
ARGUMENTS = {
    "task_id": "the id of the task",
    "worker_id": "the id of the worker",
    "schedule_id": "the id of the schedule, or its name",
    "key_id": "the id of the key",
    "name": "its name",
    "file": "the name of the file",
    "priority": "low, normal, high or critical",
}
IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "the ETag of what you have read: 412 if somebody has changed it since",
    "schema": {"type": "string"},
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "the ETag of what you have: 304 if it is still that",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "a text of yours for this one request: sent again with the same body it is answered as at first",
    "schema": {"type": "string", "minLength": 1, "maxLength": MAX_KEY_LENGTH},
}


def parameters(endpoint: Endpoint, schemas: Schemas, *, tagged: bool) -> list[Parameter]:
    """Those of `endpoint`. `tagged`: whether what it shows has an ETag."""
    found = [_of_path(name, converter) for name, converter in endpoint.arguments]
    found += _of_query(schemas.inline(endpoint.operation.query), schemas)
    if "precondition_failed" in endpoint.operation.errors:
        found.append(IF_MATCH)
    if tagged and endpoint.method == "GET":
        found.append(IF_NONE_MATCH)
    if endpoint.operation.idempotent:
        found.append(IDEMPOTENCY_KEY)
    return found


def _of_path(name: str, converter: str) -> Parameter:
    schema: Schema = {"type": "integer", "minimum": 0} if converter == "integer" else {"type": "string", "minLength": 1}
    found = {"name": name, "in": "path", "required": True, "schema": schema}
    return found | ({"description": ARGUMENTS[name]} if name in ARGUMENTS else {})


def _of_query(model: Schema, schemas: Schemas) -> Iterator[Parameter]:
    required = model.get("required", ())
    for name, described in model.get("properties", {}).items():
        schema = {key: value for key, value in without_null(described).items() if key != "title"}
        found: Parameter = {"name": name, "in": "query", "required": name in required}
        for key in ("description", "deprecated"):
            if key in schema:
                found[key] = schema.pop(key)
        if schemas.resolve(schema).get("type") == "object":
            found |= {"style": "deepObject", "explode": True}
        yield found | {"schema": schema}
