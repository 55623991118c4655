"""docs/api-reference.md: every operation with an example, then every object, from the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from flask import Flask

from ops.pages.types import described, type_of
from taskflow.settings import load
from taskflow.web import create_app
from taskflow.web.http.problems import KINDS
from taskflow.web.openapi import document
from taskflow.web.openapi.endpoints import Endpoint, endpoints
from taskflow.web.openapi.schemas import required_of
from taskflow.web.openapi.tags import place

NOTICE = "<!-- Made by ops/generate-docs from the code: change it there. -->\n"
INTRODUCTION = """\
# API reference

{about}
A running server has the same at `/openapi.json`, and at `/docs` as a page on which everything can be tried;
`taskflow openapi` prints it. The examples leave the key out: where one is needed, add
`-H "Authorization: Bearer $KEY"`. Errors are explained in [errors](errors.md); those that any operation can answer
(400, 401, 403, 413, 415, 422 for what cannot be read or is wrong, 429, 500, 503) are not repeated here.

"""
SERVER = "http://127.0.0.1:8080"
WIDTH = 118
# What an address is shown with: name of the argument → value.
# What is refused without a query.
NEEDED_QUERIES = {("DELETE", "/api/v1/dlq"): "q=type:email"}
ARGUMENTS = {
    "task_id": "42",
    "worker_id": "7",
    "schedule_id": "3",
    "key_id": "3",
    "priority": "low",
    "name": "mail",
    "file": "start.js",
}
Object = dict[str, Any]


def page() -> str:
    app = create_app(load(database_url="postgresql://localhost/taskflow"))
    return NOTICE + "\n".join(_lines(app, document(app))).rstrip() + "\n"


def _lines(app: Flask, api: Object) -> Iterator[str]:
    yield INTRODUCTION.format(about=api["info"]["description"])
    operations = _by_view(endpoints(app))
    explained = {tag["name"]: tag["description"] for tag in api["tags"]}
    shown = set()
    for same in operations:
        tag = same[0].tag
        if tag not in shown:
            shown.add(tag)
            yield f"## {tag.replace('_', ' ').capitalize()}\n\n{explained[tag]}\n"
        yield from _operation(same, api)
    yield "## Objects\n\nFields with a star are always there, or must be.\n"
    for name, schema in api["components"]["schemas"].items():
        yield from _object(name, schema)


def _by_view(found: list[Endpoint]) -> list[list[Endpoint]]:
    """Operations that are one view at several addresses, together; the one below /api/v1 that is not older, first."""
    groups: dict[tuple[Callable[..., Any], str], list[Endpoint]] = {}
    for endpoint in found:
        groups.setdefault((endpoint.view, endpoint.method), []).append(endpoint)
    for same in groups.values():
        same.sort(key=lambda endpoint: (not endpoint.path.startswith("/api/v1"), endpoint.tag == "jobs", endpoint.path))
    return sorted(groups.values(), key=lambda same: place(same[0].tag))


def _operation(same: list[Endpoint], api: Object) -> Iterator[str]:
    endpoint = same[0]
    found = api["paths"][endpoint.path][endpoint.method.lower()]
    yield f"### {endpoint.method} {endpoint.path}\n"
    scope = f"Scope `{endpoint.operation.scope}`." if endpoint.operation.scope else "Open to all."
    also = ", ".join(f"`{other.path}`" for other in same[1:])
    yield f"{endpoint.summary}. {scope}" + (f" The same at {also}." if also else "") + "\n"
    if endpoint.description:
        yield endpoint.description + "\n"
    if "parameters" in found:
        yield "| parameter | in | type | meaning |\n| --- | --- | --- | --- |"
        for parameter in found["parameters"]:
            meaning = described(parameter | parameter["schema"])
            yield f"| `{parameter['name']}` | {parameter['in']} | {type_of(parameter['schema'])} | {meaning} |"
        yield ""
    yield from _example(endpoint, found)
    yield from _answers(endpoint, found)
    if own := sorted((KINDS[code][0], code) for code in set(endpoint.operation.errors)):
        yield "Errors: " + ", ".join(f"{status} `{code}`" for status, code in own) + ".\n"


def _example(endpoint: Endpoint, found: Object) -> Iterator[str]:
    address = endpoint.path
    for name, _ in endpoint.arguments:
        address = address.replace(f"{{{name}}}", ARGUMENTS.get(name, "1"))
    target = f"{SERVER}{address}"
    if query := NEEDED_QUERIES.get((endpoint.method, endpoint.path)):
        target = f"'{target}?{query}'"
    words = ["curl -s"] + ([f"-X {endpoint.method}"] if endpoint.method != "GET" else []) + [target]
    command = " ".join(words)
    if "requestBody" in found:
        body = found["requestBody"]["content"]["application/json"]
        command += " \\\n  -H 'Content-Type: application/json' \\\n  -d '" + _wrapped(body["example"], WIDTH - 7) + "'"
    yield f"```sh\n{command}\n```\n"
    if "requestBody" in found:
        yield f"Body: {type_of(body['schema'])}.\n"


def _answers(endpoint: Endpoint, found: Object) -> Iterator[str]:
    """Those that are no errors, in the order in which they were declared; the first one that can be shown, is."""
    shown = False
    for status in endpoint.operation.answers:
        content = found["responses"][str(status)].get("content", {})
        for name, media in [item for item in content.items() if "problem" not in item[0]] or [("", {})]:
            kind = type_of(media["schema"]) if name == "application/json" else f"`{name}`" if name else "no body"
            yield f"{status}: {kind}\n"
            if "example" in media and not shown:
                shown = True
                yield f"```json\n{_wrapped(media['example'], WIDTH)}\n```\n"


def _object(name: str, schema: Object) -> Iterator[str]:
    yield f"### {name} (object)\n"
    if "description" in schema:
        yield schema["description"] + "\n"
    properties = schema.get("properties", {})
    if properties:
        yield "| field | type | meaning |\n| --- | --- | --- |"
        for field, inner in properties.items():
            star = "*" if field in required_of(schema) else ""
            yield f"| `{field}`{star} | {type_of(inner)} | {described(inner)} |"
        yield ""


def _wrapped(value: Any, width: int) -> str:
    """JSON with as many members on a line as fit."""
    if not isinstance(value, dict) or len(json.dumps(value)) <= width:
        return json.dumps(value, ensure_ascii=False)
    lines, line = [], "{"
    members = [f"{json.dumps(name)}: {json.dumps(item, ensure_ascii=False)}" for name, item in value.items()]
    for number, member in enumerate(members):
        piece = member + (", " if number < len(members) - 1 else "}")
        if line.strip() and len(line) + len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = "  "
        line += piece
    return "\n".join([*lines, line])
