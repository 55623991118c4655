"""Every answer that a test of the API gets is held to what the OpenAPI document promises of it."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from taskflow.web.http.problems import CONTENT_TYPE, KINDS
from taskflow.web.models.problem import Problem
from taskflow.web.openapi.codes import BEFORE_ALL, codes_of
from taskflow.web.openapi.endpoints import Endpoint, endpoints
from taskflow.web.openapi.schemas import choices


class CheckingClient(FlaskClient):
    """A client that fails the test which gets an answer other than the declared ones."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        response = super().open(*args, **kwargs)
        wrong = objection(self.application, response)
        assert wrong is None, f"{response.request.method} {response.request.path}: {wrong}"
        return response


def objection(app: Flask, response: TestResponse) -> str | None:
    """What is wrong with an answer; None: it is as declared."""
    endpoint = _endpoint(app, response)
    if response.status_code >= 400 and response.mimetype == CONTENT_TYPE:
        return _objection_to_problem(endpoint, response)
    if endpoint is None or response.request.method in ("HEAD", "OPTIONS"):
        return None if response.status_code < 400 else "an error that is no problem document"
    answers = dict(endpoint.operation.answers)
    if response.status_code == 304 and "ETag" in response.headers:
        answers[304] = None
    if response.status_code not in answers:
        return f"status {response.status_code} is not declared"
    model = answers[response.status_code]
    if model is None:
        return None
    if response.mimetype != "application/json":
        return f"{response.mimetype} where {model} is declared"
    misfits = [_misfit(choice, response) for choice in choices(model)]
    return None if None in misfits else "; ".join(filter(None, misfits))


def _objection_to_problem(endpoint: Endpoint | None, response: TestResponse) -> str | None:
    code = response.get_json(force=True).get("code")
    known = codes_of(endpoint) | set(BEFORE_ALL) if endpoint is not None else KINDS.keys()
    if code not in known:
        return f"the error {code} is not declared"
    if (wrong := _misfit(Problem, response)) is not None:
        return wrong
    return None if response.json["status"] == response.status_code == KINDS[code][0] else "the statuses differ"


def _misfit(model: type[BaseModel], response: TestResponse) -> str | None:
    try:
        model.model_validate_json(response.data, strict=True)
    except ValidationError as error:
        if "recursion limit" in str(error):  # a payload may have more levels than pydantic's parser follows
            return None if response.json.keys() >= _required(model) else f"a field of {model.__name__} is missing"
        return f"the answer does not fit {model.__name__}: {error}"
    return None


def _required(model: type[BaseModel]) -> set[str]:
    return {name for name, field in model.model_fields.items() if field.is_required()}


def _endpoint(app: Flask, response: TestResponse) -> Endpoint | None:
    by_address = app.extensions.get("endpoints of the tests")
    if by_address is None:
        by_address = {(found.method, found.rule): found for found in endpoints(app)}
        app.extensions["endpoints of the tests"] = by_address
    request = response.request
    try:
        rule, _ = app.url_map.bind("localhost").match(request.path, request.method, return_rule=True)
    except HTTPException:
        return None
    return by_address.get((request.method, rule.rule))
