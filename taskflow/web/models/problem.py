"""What every error is answered with: RFC 9457, application/problem+json."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from taskflow.web.models.base import Answer, Older


class FieldProblem(Answer):
    """One thing that is wrong in a request."""

    pointer: str = Field(description="the JSON pointer to it in the body (RFC 6901), or `?name` of a query parameter")
    code: str
    detail: str


class Problem(Answer):
    """An error, as RFC 9457 has it. Some codes add members of their own."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:taskflow:problem:` and the code")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    instance: str = Field(description="the path of the request")
    code: str = Field(description="a stable word for programs; docs/errors.md lists them all")
    request_id: str = Field(description="finds the request in the server's log; X-Request-ID has it as well")
    errors: list[FieldProblem] | None = Field(None, description="what is wrong in the request, piece by piece")
    error: str = Older("title")
    message: str = Older("detail")
