"""How large a payload may be."""

from __future__ import annotations

from typing import Any

from flask import request

from taskflow.errors import FieldProblem
from taskflow.web.http.encoding import encode
from taskflow.web.http.problems import Problem
from taskflow.web.services import services


def check_payload_size(payload: dict[str, Any]) -> None:
    """Raises `Problem` 422 for a payload of the request under way that is larger than the setting allows."""
    limit = services().settings.max_payload_bytes
    if (request.content_length or limit + 1) <= limit:
        return  # the whole body is smaller
    check_encoded_size(len(encode(payload)))


def check_encoded_size(size: int) -> None:
    """The same for one of which the size as JSON is known."""
    limit = services().settings.max_payload_bytes
    if size > limit:
        problem = FieldProblem(
            "/payload", "payload_too_large", f"has {size:,} bytes as JSON; at most {limit:,} are allowed"
        )
        raise Problem("invalid_request", f"/payload: {problem.detail}", problems=[problem])
