"""What was read with its secrets hidden, and is written back: the marks would take the place of the secrets."""

from __future__ import annotations

from typing import Any

from taskflow.errors import FieldProblem
from taskflow.tasks.pointers import pointer
from taskflow.web.access.redaction import REDACTED
from taskflow.web.http.problems import Problem
from taskflow.web.services import redaction_for_caller


def check_no_marks(**fields: Any) -> None:
    """Raises `Problem` 422 where a field of the request has the mark in place of a secret that whoever asks is not
    shown. Only for changes of what is there: of something new nothing is lost."""
    redaction = redaction_for_caller()
    if redaction is None:
        return
    for name, value in fields.items():
        path = redaction.mark_in(value)
        if path is not None:
            detail = (
                f"holds {REDACTED} in place of a secret, which would be lost: give the secret, leave {name} out, or use"
                " a key with the scope 'admin'"
            )
            problem = FieldProblem(pointer((name, *path)), "redacted", detail)
            raise Problem("invalid_request", f"{problem.pointer}: {detail}", problems=[problem])
