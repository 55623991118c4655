"""The payload of the types `webhook` and `http`: the request to send, and the answer to expect."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlencode

import httpx
from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, field_validator, model_validator

from taskflow.handlers import _status_ranges
from taskflow.handlers._signature import PREFIX, SIGNATURE_HEADERS

METHODS_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
# They frame the message or belong to the connection: set from outside they could make one request pass as two. Or they
# are ours, and say what this is.
FORBIDDEN_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authorization", "proxy-connection", "upgrade"),
        *("content-length", "expect", "host", "te", "trailer", "transfer-encoding"),
        *("x-taskflow-attempt", "x-taskflow-task-id"),
        *SIGNATURE_HEADERS,
    }
)
# For the schema, which the API checks: JSON Schema's patterns know no "whatever the case".
_FORBIDDEN = "|".join(
    "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in name)
    for name in sorted(FORBIDDEN_HEADERS)
)
CONTENTS = {"json": "document", "data": "data", "body": "body"}
# The same rule in the schema, since that is what the API checks; null is a value for `json` alone.
_AT_MOST_ONE: list[JsonValue] = [
    {"not": {"required": ["json", "body"], "properties": {"body": {"type": "string"}}}},
    {"not": {"required": ["json", "data"], "properties": {"data": {"type": "object"}}}},
    {"not": {"required": ["body", "data"], "properties": {"body": {"type": "string"}, "data": {"type": "object"}}}},
]

HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e]*$", max_length=8192)]
Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
FormValue = str | int | float | bool
StatusCode = Annotated[int, Field(ge=100, le=599)]
StatusRange = Annotated[str, StringConstraints(pattern=_status_ranges.PATTERN)]


class Webhook(BaseModel):
    """The request to send: where, how, and with `json`, with `data`, with `body`, or with none of them."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={"allOf": _AT_MOST_ONE},
    )

    url: str = Field(max_length=8192, pattern="^https?://[^/?#]", description="Where to send it: an http or https URL.")
    method: Method = Field("POST", description="The HTTP method.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Headers to add, printable ASCII; not those that frame the message (Content-Length, Host, …).",
        json_schema_extra={"additionalProperties": False, "propertyNames": {"not": {"pattern": f"^(?:{_FORBIDDEN})$"}}},
    )
    document: Any = Field(
        None, alias="json", description="Sent as JSON. Without it, `data` and `body`, POST, PUT and PATCH send {}."
    )
    data: dict[str, FormValue | list[FormValue]] | None = Field(
        None, description="Sent as the fields of a form (application/x-www-form-urlencoded); a list repeats its field."
    )
    body: str | None = Field(None, description="Sent as it is, as UTF-8 text.")
    timeout: float = Field(
        30.0, gt=0, le=600, allow_inf_nan=False, description="Seconds for all of it: redirects and answer included."
    )
    expected_status: StatusCode | StatusRange | Annotated[list[StatusCode | StatusRange], Field(min_length=1)] = Field(
        "2xx", description="Statuses that are a success: 204, '2xx', '200-204', or a list of such."
    )
    sign_with: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]{1,100}$",
        description="Sign it (Standard Webhooks) with the secret of this name in TASKFLOW_WEBHOOK_SECRETS.",
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

    @field_validator("expected_status")
    @classmethod
    def _sound_ranges(cls, value: Any) -> Any:
        for entry in value if isinstance(value, list) else [value]:
            _status_ranges.range_of(entry)
        return value

    @field_validator("sign_with")
    @classmethod
    def _is_a_name(cls, value: str | None) -> str | None:
        if value is not None and value.startswith(PREFIX):
            raise ValueError("give the name of a secret in TASKFLOW_WEBHOOK_SECRETS, not the secret")
        return value

    @model_validator(mode="after")
    def _one_content(self) -> Self:
        given = [name for name, field in CONTENTS.items() if self._has(field)]
        if len(given) > 1:
            raise ValueError(f"give only one of {' and '.join(given)}")
        return self

    def _has(self, field: str) -> bool:
        """Whether the field was given; for `json` null is a value as well."""
        return field in self.model_fields_set and (field == "document" or getattr(self, field) is not None)

    def expects(self, status: int) -> bool:
        """Whether this status of an answer is a success."""
        wanted = self.expected_status
        return _status_ranges.is_among(status, wanted if isinstance(wanted, list) else [wanted])

    @property
    def content(self) -> tuple[str, bytes] | None:
        """Content type and bytes, or None where nothing is to be sent."""
        if self.body is not None:
            return "text/plain; charset=utf-8", self.body.encode()
        if self.data is not None:
            return "application/x-www-form-urlencoded", urlencode(_fields(self.data), doseq=True).encode()
        if self._has("document"):
            return "application/json", json.dumps(self.document, ensure_ascii=False).encode()
        return ("application/json", b"{}") if self.method in METHODS_WITH_CONTENT else None


def _fields(data: dict[str, Any]) -> list[tuple[str, Any]]:
    """The form's fields, with truth values as JavaScript writes them."""

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        return str(value).lower() if isinstance(value, bool) else value

    return [(name, text(value)) for name, value in data.items()]
