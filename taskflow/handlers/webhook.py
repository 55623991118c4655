"""`webhook`: one HTTP request to somebody else's server, retried by what the answer says."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from time import perf_counter
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from taskflow import Context, DeadLetter, Retry, task
from taskflow.handlers._http import Answer, Request, exchange
from taskflow.handlers._retry_after import retry_after_seconds
from taskflow.handlers._secrets import Secrets

WORTH_A_RETRY = frozenset({408, 425, 429})  # of the 4xx; all others say that the request itself is wrong
METHODS_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
# They frame the message or belong to the connection: set from outside they could make one request pass as two.
FORBIDDEN_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"),
        *("content-length", "expect", "host", "te", "trailer", "transfer-encoding"),
        *("x-taskflow-attempt", "x-taskflow-task-id"),
    }
)
EXCERPT_CHARACTERS = 500

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e]*$", max_length=8192)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Webhook(BaseModel):
    """The request to send: where, how, and with `json`, with `body`, or with neither."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(max_length=8192, pattern="^https?://", description="Where to send it: an http or https URL.")
    method: Method = Field("POST", description="The HTTP method.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Headers to add, printable ASCII; not those that frame the message (Content-Length, Host, …).",
    )
    document: Any = Field(
        None, alias="json", description="Sent as JSON. With neither `json` nor `body`, POST, PUT and PATCH send {}."
    )
    body: str | None = Field(None, description="Sent as it is, as UTF-8 text, instead of `json`.")
    timeout: float = Field(
        30.0, gt=0, le=600, allow_inf_nan=False, description="Seconds for all of it: redirects and answer included."
    )

    @field_validator("url")
    @classmethod
    def _reachable(cls, value: str) -> str:
        try:
            url = httpx.URL(value)
            url.host.encode("idna")  # as the resolver will: labels that are empty or too long fail here, not there
        except (httpx.InvalidURL, UnicodeError):
            raise ValueError("not a valid URL") from None
        if not url.host or "%" in url.host:  # httpx escapes what can be in no host's name
            raise ValueError("the URL names no valid host")
        if url.port is not None and not 1 <= url.port <= 65_535:
            raise ValueError("the URL's port is not between 1 and 65535")
        return value

    @field_validator("headers")
    @classmethod
    def _allowed(cls, value: dict[str, str]) -> dict[str, str]:
        names = [name.lower() for name in value]
        if forbidden := sorted(FORBIDDEN_HEADERS.intersection(names)):
            raise ValueError(f"not allowed here: {', '.join(forbidden)}")
        if len(set(names)) < len(names):
            raise ValueError("the same header twice, in different case")
        return {name: text.strip() for name, text in value.items()}

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        if self.has_document and self.body is not None:
            raise ValueError("give either json or body, not both")
        return self

    @property
    def has_document(self) -> bool:
        """Whether `json` was given; null is a JSON value as well."""
        return "document" in self.model_fields_set

    @property
    def content(self) -> tuple[str, bytes] | None:
        """Content type and bytes, or None where nothing is to be sent."""
        if self.body is not None:
            return "text/plain; charset=utf-8", self.body.encode()
        if self.has_document:
            return "application/json", json.dumps(self.document, ensure_ascii=False).encode()
        return ("application/json", b"{}") if self.method in METHODS_WITH_CONTENT else None


class WebhookFailed(Exception):
    """The receiver could not be reached, or answered with an error that may pass; retried by the task's policy."""


@task("webhook")
async def webhook(payload: Webhook, context: Context) -> dict[str, Any]:
    """Send the request; return ``{"status", "headers", "body", "truncated", "duration_ms"}``.

    The receiver gets the task's id and the attempt's number as `X-Taskflow-Task-Id` and `X-Taskflow-Attempt`. The id is
    the same in every attempt, so that it recognises a delivery which it had taken, but whose answer was lost.

    Raises `DeadLetter` for a 4xx that no retry mends, `Retry` where the answer says when to come back, `WebhookFailed`
    for the rest. What is secret in the request is blotted out of results and errors, also where the receiver quotes it.
    """
    started = perf_counter()
    secrets = Secrets.of(payload.url, payload.headers)
    what = f"{payload.method} {_origin(payload.url)}"
    try:
        async with asyncio.timeout(payload.timeout):
            answer = await exchange(_request(payload, context))
    except TimeoutError:
        raise WebhookFailed(f"{what} had no full answer within {payload.timeout:g} seconds") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Not "from error": what stands in the chain may quote the request.
        raise WebhookFailed(secrets.blot(f"{what} failed: {error or type(error).__name__}")) from None
    answer = answer.blotted(secrets)
    _raise_for_errors(what, answer)
    return {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "truncated": answer.truncated,
        "duration_ms": round((perf_counter() - started) * 1000),
    }


def _request(payload: Webhook, context: Context) -> Request:
    return Request(
        method=payload.method,
        url=httpx.URL(payload.url),
        private_headers=payload.headers,
        public_headers={"X-Taskflow-Task-Id": str(context.task_id), "X-Taskflow-Attempt": str(context.attempt)},
        content=payload.content,
    )


def _origin(url: str) -> str:
    """The URL without user, path and query: any of these can be the secret, and the payload has them all."""
    return str(httpx.URL(url).copy_with(userinfo=b"", raw_path=b"", fragment=None))


def _raise_for_errors(what: str, answer: Answer) -> None:
    if answer.status < 400:
        return
    message = f"{what} answered {answer.status} {httpx.codes.get_reason_phrase(answer.status)}".rstrip()
    if excerpt := answer.body[:EXCERPT_CHARACTERS].strip():
        message += f": {excerpt}"
    if answer.status < 500 and answer.status not in WORTH_A_RETRY:
        raise DeadLetter(message)
    after = retry_after_seconds(answer.headers.get("retry-after", ""), now=datetime.now(UTC))
    if after is not None:
        raise Retry(message, after=after)
    raise WebhookFailed(message)
