"""The operations that an application serves, found by walking through its map of addresses."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from taskflow.web.http.operation import Operation, operation_of
from taskflow.web.openapi.tags import family_of, place, tag_of

ARGUMENT = re.compile(r"<(?:\w+(?:\([^>]*\))?:)?(\w+)>")
# These two belong to HTTP, not to an operation: Flask answers them by itself.
IMPLIED_METHODS = frozenset({"HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one address. `arguments`: what the path holds, name → converter, in order."""

    method: str
    rule: str  # the address as Flask writes it
    path: str  # and as OpenAPI does
    tag: str
    name: str  # unique: the operationId
    arguments: tuple[tuple[str, str], ...]
    view: Callable[..., Any]
    operation: Operation

    @property
    def summary(self) -> str:
        """The first line of the view's docstring, without its full stop."""
        return (inspect.getdoc(self.view) or "").partition("\n")[0].strip().removesuffix(".")

    @property
    def description(self) -> str:
        """The rest of it."""
        return (inspect.getdoc(self.view) or "").partition("\n")[2].strip()


def endpoints(app: Flask) -> list[Endpoint]:
    """Every declared operation of `app`, by resource and address, each with a name that no other has."""
    found = [
        _endpoint(rule, method, app.view_functions[rule.endpoint], declared)
        for rule in app.url_map.iter_rules()
        if (declared := operation_of(app.view_functions[rule.endpoint])) is not None
        for method in sorted((rule.methods or set()) - IMPLIED_METHODS)
    ]
    return _with_unique_names(sorted(found, key=_order))


def undeclared(app: Flask) -> list[str]:
    """The views of `app` that were not declared with `@operation`: nothing checks them, and nothing documents them."""
    return sorted(name for name, view in app.view_functions.items() if operation_of(view) is None)


def _order(endpoint: Endpoint) -> tuple[Any, ...]:
    """By resource and address; the same under /admin after that under /api."""
    return place(endpoint.tag), endpoint.path.startswith("/admin"), endpoint.path, endpoint.method


def _endpoint(rule: Rule, method: str, view: Callable[..., Any], declared: Operation) -> Endpoint:
    function, family = rule.endpoint.rpartition(".")[2], family_of(rule.rule)
    return Endpoint(
        method=method,
        rule=rule.rule,
        path=ARGUMENT.sub(r"{\1}", rule.rule),
        tag=tag_of(rule.rule),
        name=family if function == family.removeprefix("admin_") else f"{family}_{function}",
        arguments=tuple(
            (name, type(rule._converters[name]).__name__.removesuffix("Converter").lower())
            for name in ARGUMENT.findall(rule.rule)
        ),
        view=view,
        operation=declared,
    )


def _with_unique_names(found: Sequence[Endpoint]) -> list[Endpoint]:
    """A view that is served at several addresses, or for several methods, keeps its name at the shortest of them; the
    names of the others say where they differ."""
    first: dict[str, Endpoint] = {}
    for endpoint in sorted(found, key=lambda endpoint: (len(endpoint.path), endpoint.path, endpoint.method)):
        first.setdefault(endpoint.name, endpoint)
    return [replace(endpoint, name=_unique(endpoint, first[endpoint.name])) for endpoint in found]


def _unique(endpoint: Endpoint, first: Endpoint) -> str:
    parts = [endpoint.name]
    if endpoint.path != first.path:
        beside = endpoint.path.removeprefix(first.path).removesuffix(first.path)
        parts.append(re.sub(r"[^A-Za-z0-9]+", "_", beside).strip("_"))
    if endpoint.method != first.method:
        parts.append(endpoint.method.lower())
    return "_".join(parts)
