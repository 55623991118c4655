"""One operation as the OpenAPI document has it."""

from __future__ import annotations

from typing import Any

from taskflow.web.models.base import Nothing, Page
from taskflow.web.models.problem import Problem
from taskflow.web.openapi.endpoints import Endpoint
from taskflow.web.openapi.examples import example_answer, example_request
from taskflow.web.openapi.headers import ALWAYS, references
from taskflow.web.openapi.parameters import parameters
from taskflow.web.openapi.problem_responses import codes_by_status, name_of, problem_response
from taskflow.web.openapi.schemas import Schemas, required_of

JSON = "application/json"
REASONS = {
    200: "done",
    201: "created",
    202: "accepted: it will be done",
    204: "done; there is nothing to say",
    207: "some of it is done",
    304: "not changed since",
    101: "the connection speaks WebSocket from here on",
}
Object = dict[str, Any]


def operation_object(endpoint: Endpoint, schemas: Schemas, *, tagged: bool) -> Object:
    """The Operation Object of `endpoint`. `tagged`: whether what it shows has an ETag."""
    operation = endpoint.operation
    found: Object = {"operationId": endpoint.name, "tags": [endpoint.tag], "summary": endpoint.summary}
    if endpoint.description:
        found["description"] = endpoint.description
    if given := parameters(endpoint, schemas, tagged=tagged):
        found["parameters"] = given
    if operation.body is not Nothing:
        found["requestBody"] = _request_body(endpoint, schemas)
    found["responses"] = _responses(endpoint, schemas, tagged=tagged)
    found["security"] = _security(operation.scope)
    return found


def _request_body(endpoint: Endpoint, schemas: Schemas) -> Object:
    operation = endpoint.operation
    schema = schemas.of(operation.body)
    content: Object = {JSON: {"schema": schema, "example": example_request(schema, schemas)}}
    for media_type in operation.also_takes:
        content[media_type] = {"schema": {"type": "string"}}
    return {"required": bool(required_of(schemas.inline(operation.body))), "content": content}


def _responses(endpoint: Endpoint, schemas: Schemas, *, tagged: bool) -> Object:
    found: dict[int, Object] = {}
    for status, model in endpoint.operation.answers.items():
        found[status] = {"description": REASONS.get(status, "not now"), "headers": _headers(endpoint, status, tagged)}
        if model is not None:
            schema = schemas.of(model)
            found[status]["content"] = {JSON: {"schema": schema, "example": example_answer(schema, schemas)}}
        elif endpoint.operation.produces is not None and status < 300:
            found[status]["content"] = {endpoint.operation.produces: {"schema": {"type": "string"}}}
    if tagged and endpoint.method == "GET":
        found[304] = {"description": REASONS[304], "headers": _headers(endpoint, 304, tagged)}
    for status, codes in codes_by_status(endpoint).items():
        if status in found:
            problem = problem_response(status, codes, schemas.of(Problem))
            found[status]["content"] = found[status].get("content", {}) | problem["content"]
        else:
            found[status] = {"$ref": f"#/components/responses/{name_of(status, codes)}"}
    return {str(status): found[status] for status in sorted(found)}


def _headers(endpoint: Endpoint, status: int, tagged: bool) -> Object:
    names = [*ALWAYS]
    if tagged:
        names.append("ETag")
    if status == 201:
        names.append("Location")
    if status == 503:
        names.append("Retry-After")
    if issubclass(endpoint.operation.query, Page):
        names.append("Link")
    if endpoint.operation.idempotent:
        names.append("Idempotency-Replayed")
    return references(names)


def _security(scope: str | None) -> list[Object]:
    # OpenAPI 3.1 lets any scheme list what is needed, not only OAuth's.
    return [] if scope is None else [{"bearer": [scope]}, {"apiKey": [scope]}]
