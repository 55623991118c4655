"""What an address may contain: ids and query parameters."""

from __future__ import annotations

import re

from flask import request

from taskflow.errors import FieldProblem, TaskNotFound
from taskflow.web.bodies import shorten
from taskflow.web.problems import Problem

LARGEST_ID = 2**63 - 1
DIGITS = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
WAIT_SECONDS = range(1, 26)


def task_id(text: str) -> int:
    """The id of a path as a number. Raises `TaskNotFound` for whatever cannot be one."""
    if DIGITS.fullmatch(text) and int(text) <= LARGEST_ID:
        return int(text)
    raise TaskNotFound(shorten(text.encode("ascii", "backslashreplace").decode())[:100])


def only(*known: str) -> None:
    """Raises `Problem` 422 for a query parameter that is not among `known`, or is given twice."""
    problems = [
        _problem(name, "unknown_field", "there is no such parameter") for name in request.args if name not in known
    ]
    problems += [_problem(name, "duplicate", "is given twice") for name in known if len(request.args.getlist(name)) > 1]
    _raise(problems)


def wait_seconds() -> int | None:
    """`?wait=`, 1 to 25 seconds; None if it is not given. Raises `Problem` 422."""
    text = request.args.get("wait")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII) or int(text) not in WAIT_SECONDS:
        _raise([_problem("wait", "out_of_range", "must be a whole number of seconds from 1 to 25")])
    return int(text)


def _problem(name: str, code: str, detail: str) -> FieldProblem:
    return FieldProblem(f"?{shorten(name)[:100]}", code, detail)


def _raise(problems: list[FieldProblem]) -> None:
    if problems:
        first = problems[0]
        raise Problem("invalid_request", f"{first.pointer}: {first.detail}", problems=problems[:20])
