"""The OpenAPI 3.1 document of an application, made from what its views were declared as."""

from __future__ import annotations

import inspect
import sys
from importlib.metadata import version
from types import ModuleType
from typing import Any

from flask import Flask

from taskflow.web.models.problem import Problem
from taskflow.web.openapi.endpoints import Endpoint, endpoints
from taskflow.web.openapi.headers import descriptions
from taskflow.web.openapi.operations import operation_object
from taskflow.web.openapi.problem_responses import problem_responses
from taskflow.web.openapi.schemas import Schemas

ABOUT = """\
A task queue that lives in PostgreSQL. JSON in, JSON out; times are RFC 3339 in UTC; ids are opaque strings.

Errors are problem documents (RFC 9457) with a stable `code`. Lists are read with `limit` and `cursor`: `next_cursor`
and the `Link` header lead to the next page. A creating POST takes an `Idempotency-Key`. What has an `ETag` can be
changed with `If-Match`. The scope that a key needs is listed with each operation; `admin` includes all others. Beside
what is listed, any address may answer 405, 414 or 431.
"""
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "Authorization: Bearer KEY"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def document(app: Flask) -> dict[str, Any]:
    """The document, ready to be written as JSON."""
    found = endpoints(app)
    schemas = Schemas(
        model
        for endpoint in found
        for model in (endpoint.operation.body, endpoint.operation.query, *endpoint.operation.answers.values(), Problem)
        if model is not None
    )
    paths: dict[str, Any] = {}
    tagged = {endpoint.path for endpoint in found if "precondition_failed" in endpoint.operation.errors}
    for endpoint in found:
        described = operation_object(endpoint, schemas, tagged=_has_tag(endpoint, tagged))
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "taskflow",
            "version": version("taskflow-pg"),
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(found),
        "paths": paths,
        "components": {
            "schemas": _used(schemas, [paths, schemas.of(Problem)]),
            "responses": problem_responses(found, schemas.of(Problem)),
            "headers": descriptions(),
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _has_tag(endpoint: Endpoint, tagged: set[str]) -> bool:
    """What can be changed with If-Match is shown with an ETag, also by what creates it."""
    if endpoint.path in tagged:
        return endpoint.method == "GET" or "precondition_failed" in endpoint.operation.errors
    return 201 in endpoint.operation.answers and any(path.rpartition("/{")[0] == endpoint.path for path in tagged)


def _tags(found: list[Endpoint]) -> list[dict[str, str]]:
    """A tag a resource, explained by the first line of the module that serves it."""
    modules: dict[str, ModuleType] = {}
    for endpoint in found:
        modules.setdefault(endpoint.tag, sys.modules[endpoint.view.__module__])
    return [
        {"name": tag, "description": (inspect.getdoc(module) or "").partition("\n")[0]}
        for tag, module in modules.items()
    ]


def _used(schemas: Schemas, places: list[dict[str, Any]]) -> dict[str, Any]:
    """The schemas that somebody refers to: queries, for one, are written out as parameters."""
    used: dict[str, Any] = {}
    todo = places
    while todo:
        for name in _references(todo.pop()) - used.keys():
            used[name] = schemas.definitions[name]
            todo.append(used[name])
    return dict(sorted(used.items()))


def _references(value: Any) -> set[str]:
    found: set[str] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            reference = item.get("$ref")
            if isinstance(reference, str) and reference.startswith("#/components/schemas/"):
                found.add(reference.rpartition("/")[2])
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
    return found
