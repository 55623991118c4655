"""What an endpoint is: declared once, beside its view, and both enforced and documented from that declaration.

::

    @blueprint.post("/<name>/pause")
    @operation("operate", {200: QueuePaused}, errors=("queue_not_found",))
    def pause(name: str) -> Response:
        "Stop claims from the queue."

The docstring's first line is the summary in the OpenAPI document, the rest its description. A view that declares a
`body` or a `query` gets them as arguments of these names, validated.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel

from taskflow.web.access import idempotency
from taskflow.web.access.auth import require
from taskflow.web.http import bodies, params
from taskflow.web.models.base import Body, NoQuery, Nothing, Query

View = TypeVar("View", bound=Callable[..., Any])
ATTRIBUTE = "operation"


@dataclass(frozen=True, slots=True)
class Operation:
    """`scope`: which a key needs; None: open to all. `answers`: status → model of its body, or several
    (`A | B`); None: no JSON.
    `errors`: codes of problems beyond those that every operation may answer.
    """

    scope: str | None
    answers: Mapping[int, type[BaseModel] | UnionType | None]
    body: type[Body] = Nothing
    query: type[Query] = NoQuery
    errors: tuple[str, ...] = ()
    max_body_bytes: int | None = None  # None: as for all
    reads_body: bool = True  # False: the view reads it, for instance as a stream; `body` then only documents it
    idempotent: bool = False  # a creating POST: takes Idempotency-Key
    produces: str | None = None  # media type of an answer that is no JSON (its model is None)
    also_takes: tuple[str, ...] = ()  # media types of bodies beside JSON


def operation(
    scope: str | None,
    answers: Mapping[int, type[BaseModel] | UnionType | None],
    **details: Any,
) -> Callable[[View], View]:
    """Declare a view; `details` are the further fields of `Operation`."""
    declared = Operation(scope, answers, **details)

    def declare(view: View) -> View:
        @functools.wraps(view)
        def checked(**arguments: Any) -> Any:
            if declared.scope is not None:
                require(declared.scope)
            if declared.query is not NoQuery:
                arguments["query"] = params.read(declared.query)
            elif request.query_string:
                params.read(NoQuery)  # refuses whatever it is
            if declared.max_body_bytes is not None:
                request.max_content_length = declared.max_body_bytes
            if declared.idempotent and idempotency.HEADER in request.headers:
                return idempotency.once(lambda: done(arguments), reads_body=declared.reads_body)
            return done(arguments)

        def done(arguments: dict[str, Any]) -> Any:
            if declared.reads_body and request.method not in ("GET", "HEAD"):
                body = bodies.read(declared.body)
                if declared.body is not Nothing:
                    arguments["body"] = body
            return view(**arguments)

        setattr(checked, ATTRIBUTE, declared)
        return checked  # type: ignore[return-value]

    return declare


def operation_of(view: Callable[..., Any]) -> Operation | None:
    """What a view was declared as; None if it was not."""
    found = getattr(view, ATTRIBUTE, None)
    return found if isinstance(found, Operation) else None
