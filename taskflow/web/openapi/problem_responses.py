"""Errors as responses of the document. Many operations share the same few, so each is described once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from taskflow.web.http.problems import CONTENT_TYPE, KINDS
from taskflow.web.openapi.codes import codes_of
from taskflow.web.openapi.endpoints import Endpoint
from taskflow.web.openapi.headers import ALWAYS, references
from taskflow.web.openapi.schemas import Schema

FURTHER_HEADERS = {401: ["WWW-Authenticate"], 429: ["Retry-After"], 503: ["Retry-After"]}


def codes_by_status(endpoint: Endpoint) -> dict[int, tuple[str, ...]]:
    """The codes that `endpoint` may answer, under their statuses."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for code in sorted(codes_of(endpoint)):
        found[KINDS[code][0]].append(code)
    return {status: tuple(codes) for status, codes in sorted(found.items())}


def name_of(status: int, codes: Sequence[str]) -> str:
    """The name of the response under components/responses."""
    return ".".join((str(status), *codes))


def problem_response(status: int, codes: Sequence[str], problem: Schema) -> dict[str, Any]:
    """The response with one of `codes`; `problem` is the schema of all problem documents."""
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}
    return {
        "description": "; ".join(f"{code}: {KINDS[code][1]}" for code in codes),
        "headers": references([*ALWAYS, *FURTHER_HEADERS.get(status, [])]),
        "content": {CONTENT_TYPE: {"schema": {"allOf": [problem, narrowed]}}},
    }


def problem_responses(found: Iterable[Endpoint], problem: Schema) -> dict[str, Any]:
    """All that the operations refer to."""
    every = {(status, codes) for endpoint in found for status, codes in codes_by_status(endpoint).items()}
    return {name_of(status, codes): problem_response(status, codes, problem) for status, codes in sorted(every)}
