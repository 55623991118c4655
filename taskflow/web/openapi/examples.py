"""Examples that look like the real thing, made from schemas: values by the field's name, where they fit its type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskflow.store.api_keys import MARK, PREFIX_LENGTH
from taskflow.web.openapi.schemas import Schema, Schemas, required_of

KEY = MARK + "X0mQ2vZr8sYt5uWb1cNd4eFg7hJk9lPo3iAq6wRs2tE"
# Tried in this order; the first one that the schema of the field takes is shown.
VALUES: dict[str, tuple[Any, ...]] = {
    "action": ("queue.pause",),
    "actor": ("deployment",),
    "attempt": (1,),
    "attempts": (1,),
    "code": ("all_slots_busy",),
    "concurrency": (10,),
    "count": (1,),
    "created": (True, 1),
    "created_by": ("shop",),
    "cron": ("*/15 * * * *",),
    "details": ({"reason": "maintenance"},),
    "dry_run": (False,),
    "enabled": (True,),
    "events": (["task.completed", "worker.*"],),
    "failures": (0,),
    "filter": ("state:failed type:email created:<1d",),
    "fingerprint": ("9f86d081884c7d65",),
    "hostname": ("worker-1",),
    "id": ("42",),
    "ids": (["42", "43"],),
    "job_id": ("42",),
    "key": (KEY,),
    "limit": (50,),
    "max_attempts": (5,),
    "max_retries": (4,),
    "metadata": ({"user": 7},),
    "name": ("mail",),
    "offset": (0,),
    "payload": ({"to": "ada@example.org"},),
    "pid": (4711,),
    "prefix": (KEY[:PREFIX_LENGTH],),
    "priority": ("normal", 1),
    "priority_value": (1,),
    "queue": ("default",),
    "queue_name": ("default",),
    "queues": (["default"],),
    "reason": ("every slot of the workers that serve its queue is busy",),
    "result": ({"delivered": True},),
    "retention": ({"completed": 86400},),
    "sample_id": ("42",),
    "schedule_id": ("3",),
    "scopes": (["read", "enqueue"],),
    "state": ("completed", "idle"),
    "status": ("completed", "succeeded", "healthy", "alive", "failed"),
    "tags": (["newsletter"],),
    "task_id": ("42",),
    "task_type": ("email",),
    "tasks": ([{"type": "email", "payload": {"to": "ada@example.org"}}],),
    "timeout": (300.0,),
    "timezone": ("Europe/Berlin",),
    "type": ("email",),
    "types": (["email"],),
    "version": (3, "1.0.0"),
    "worker_id": ("7",),
}
# Bodies whose fields exclude each other, or of which one would send but a few: the title of the schema → the example.
BODIES: dict[str, Any] = {
    "BatchBody": {"filter": "state:pending type:email", "dry_run": True},
    "BatchRetryBody": {"filter": "state:failed type:email", "per_second": 100},
    "KeyBody": {"name": "shop", "scopes": ["read", "enqueue"], "queues": ["default"]},
    "NewQueue": {"name": "mail", "rate_limit": 10, "rate_period": 60},
    "NewSchedule": {
        "name": "nightly",
        "type": "report",
        "payload": {"type": "daily", "timezone": "Europe/Berlin"},
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
    },
    "PatchBody": {"priority": "high", "metadata": {"user": 7}},
    "PatchQueue": {"rate_limit": 10, "rate_period": 60},
    "PatchSchedule": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
    "PreviewBody": {"cron": "0 9 * * 1-5", "timezone": "Europe/Berlin", "count": 3},
    "PutQueue": {"priority": 5, "max_workers": 4, "timeout": 60},
    "RetryBody": {"payload": {"to": "ada@example.org"}},
    "RetryDeadLetters": {"filter": "type:email error:timeout", "per_second": 100},
}
# Shown as null where they may be: an example is of something that went well.
ABSENT = frozenset(
    {
        "cancel_reason",
        "concurrency_key",
        "conflicting_task_id",
        "error",
        "expires_at",
        "next_cursor",
        "next_retry_at",
        "progress_message",
        "reason",
        "traceback",
        "unique_key",
    }
)
# Shown in requests where they may be left out.
USUAL = frozenset({"cron", "payload"})
TIME = "2026-01-31T09:30:00Z"
TYPES = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}
DEEPEST = 6


def example_answer(schema: Schema, schemas: Schemas) -> Any:
    """An example of an answer: all its fields."""
    return _example("", schema, schemas, depth=0, whole=True)


def example_request(schema: Schema, schemas: Schemas) -> Any:
    """An example of a body: the fields that it must have, and the well known ones that it has by themselves."""
    title = schemas.resolve(schema).get("title", "")
    return BODIES[title] if title in BODIES else _example("", schema, schemas, depth=0, whole=False)


def _example(name: str, schema: Schema, schemas: Schemas, *, depth: int, whole: bool) -> Any:
    schema = schemas.resolve(schema)
    if "examples" in schema:
        return schema["examples"][0]
    choices = [schemas.resolve(choice) for choice in schema.get("anyOf", [schema])]
    if name in ABSENT and any(choice.get("type") == "null" for choice in choices):
        return None
    for value in VALUES.get(name, ()):
        if any(_takes(choice, value) for choice in choices):
            return value
    return _made(name, choices[0], schemas, depth=depth, whole=whole)


def _made(name: str, schema: Schema, schemas: Schemas, *, depth: int, whole: bool) -> Any:
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object" if depth < DEEPEST:
            return dict(_fields(schema, schemas, depth=depth, whole=whole))
        case "array" if depth < DEEPEST and "items" in schema:
            return [_example(name.removesuffix("s"), schema["items"], schemas, depth=depth + 1, whole=whole)]
        case "string":
            return TIME if schema.get("format") == "date-time" else "text"
        case "integer" | "number":
            return schema.get("default") or schema.get("minimum", 1)
        case "boolean":
            return bool(schema.get("default", False))
        case "array":
            return []
        case "null":
            return None
    return {}


def _fields(schema: Schema, schemas: Schemas, *, depth: int, whole: bool) -> Iterator[tuple[str, Any]]:
    properties = schema.get("properties", {})
    required = required_of(schema)
    for name, described in properties.items():
        if whole or name in required | USUAL or (not required and name in VALUES):
            yield name, _example(name, described, schemas, depth=depth + 1, whole=whole)
    values = schema.get("additionalProperties")
    if whole and not properties and isinstance(values, dict):
        yield "default", _example("", values, schemas, depth=depth + 1, whole=whole)


def _takes(schema: Schema, value: Any) -> bool:
    """Whether `schema` could take `value`, by its type and its list of values."""
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema or "properties" in schema:
        return False
    wanted = TYPES.get(schema.get("type", ""))
    if wanted is None:
        return "type" not in schema
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict) and items.keys() & {"enum", "$ref", "anyOf"}:
        return "enum" in items and all(item in items["enum"] for item in value)
    return isinstance(value, wanted) and isinstance(value, bool) == (wanted is bool)
