"""What an address may contain: ids and query parameters."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from flask import request
from pydantic import BaseModel, ValidationError

from taskflow.errors import FieldProblem, TaskNotFound
from taskflow.web.http.bodies import shorten
from taskflow.web.http.problems import Problem

LARGEST_ID = 2**63 - 1
DIGITS = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
INTEGER = re.compile(r"-?[0-9]+", re.ASCII)  # Python would also read 1_0, and spaces around a number
LOST_PLUS = re.compile(r":\d\d(\.\d+)? \d\d:\d\d$", re.ASCII)
Model = TypeVar("Model", bound=BaseModel)


def task_id(text: str) -> int:
    """The id of a path as a number. Raises `TaskNotFound` for whatever cannot be one."""
    found = number(text)
    if found is None:
        raise TaskNotFound(shown(text))
    return found


def number(text: str) -> int | None:
    """The id of a path as a number; None for whatever cannot be one."""
    return int(text) if DIGITS.fullmatch(text) and int(text) <= LARGEST_ID else None


def shown(text: str) -> str:
    """A part of a path for an error's detail, whatever it is."""
    return shorten(text.encode("ascii", "backslashreplace").decode())[:100]


def read(model: type[Model]) -> Model:
    """The query string of the request under way as `model`. Raises `Problem` 422 for everything that is wrong."""
    given: dict[str, Any] = {}
    problems: list[FieldProblem] = []
    for name, values in request.args.lists():
        field, _, key = name.partition("[")
        if key.endswith("]") and _is(model, field, dict):
            given.setdefault(field, {})[key[:-1]] = values[-1]
        elif _is(model, name, list):
            given[name] = values
        elif len(values) > 1:
            problems.append(_problem(name, "duplicate", "is given twice"))
        elif _is(model, name, int) and not INTEGER.fullmatch(values[0]):
            problems.append(_problem(name, "int_parsing", "must be a whole number, in digits"))
        else:
            given[name] = values[0]
        if any("\x00" in text for text in (name, *values)):
            problems.append(_problem(name, "nul_character", "contains the character U+0000"))
    try:
        found = model.model_validate(given)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        problems += [_problem_of(model, item) for item in wrong]
    _raise(problems)
    return found


def _problem_of(model: type[BaseModel], item: Any) -> FieldProblem:
    name = str(item["loc"][0]) if item["loc"] else ""
    if item["type"] == "extra_forbidden":
        known = ", ".join(model.model_fields) or "none at all"
        return _problem(name, "unknown_field", f"there is no such parameter here; there are: {known}")
    detail = f"is given as {name}[KEY]=VALUE" if item["type"] == "dict_type" else shorten(item["msg"])
    if item["type"] == "time" and LOST_PLUS.search(request.args.get(name, "")):
        detail += "; a + of the zone is written %2B in an address, where it stands for a space"
    return _problem(name, item["type"], detail)


def _is(model: type[BaseModel], name: str, kind: type) -> bool:
    field = model.model_fields.get(name)
    return field is not None and kind in (get_origin(part) or part for part in _parts(field.annotation))


def _parts(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _problem(name: str, code: str, detail: str) -> FieldProblem:
    return FieldProblem(f"?{shorten(name)[:100]}", code, detail)


def _raise(problems: list[FieldProblem]) -> None:
    if problems:
        first = problems[0]
        raise Problem("invalid_request", f"{first.pointer}: {first.detail}", problems=problems[:20])
