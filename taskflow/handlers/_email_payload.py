"""The payload of the type `email`."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationInfo, field_validator

from taskflow.handlers._header_text import SCHEMA, HeaderText
from taskflow.handlers._mail_address import address_of

MAX_RECIPIENTS = 100
MAX_ATTACHMENTS_BYTES = 10 * 2**20
# Those that this type writes itself, those of fields of the payload, and those that only servers write.
FORBIDDEN_HEADERS = frozenset(
    {
        *(
            "bcc",
            "cc",
            "date",
            "from",
            "message-id",
            "mime-version",
            "orig-date",
            "reply-to",
            "sender",
            "subject",
            "to",
        ),
        *("dkim-signature", "received", "return-path"),
    }
)
FORBIDDEN_PREFIXES = ("content-", "resent-")


def _sound_address(text: str) -> str:
    address_of(text)
    return text


MailAddress = Annotated[
    str,
    Field(min_length=3, max_length=1000, pattern="@", json_schema_extra=SCHEMA),
    AfterValidator(_sound_address),
]
Addresses = MailAddress | Annotated[list[MailAddress], Field(max_length=MAX_RECIPIENTS)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,70}$")]
HeaderValue = Annotated[HeaderText, Field(max_length=2000)]


class Attachment(BaseModel):
    """One file."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)

    filename: HeaderText = Field(min_length=1, max_length=255, description="The name that it is shown and saved under.")
    content: str = Field(
        max_length=MAX_ATTACHMENTS_BYTES * 4 // 3 + 4,
        description="Its bytes in base64.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    content_type: str = Field(
        "application/octet-stream",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$",
        description="Its media type, such as application/pdf, without parameters.",
    )

    @field_validator("content")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("not base64") from None
        return value

    @field_validator("content_type")
    @classmethod
    def _is_no_container(cls, value: str) -> str:
        if value.lower().startswith(("multipart/", "message/")):
            raise ValueError("multipart and message types are no files: application/octet-stream always works")
        return value

    @property
    def data(self) -> bytes:
        """The bytes."""
        return base64.b64decode(self.content)


class Email(BaseModel):
    """The mail to send."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        hide_input_in_errors=True,
        json_schema_extra={
            "not": {
                "required": ["body", "text"],
                "properties": {"body": {"type": "string"}, "text": {"type": "string"}},
            }
        },
    )

    to: MailAddress | Annotated[list[MailAddress], Field(min_length=1, max_length=MAX_RECIPIENTS)] = Field(
        description="Who gets it: an address, or a list; ann@example.com or Ann <ann@example.com>."
    )
    cc: Addresses | None = Field(None, description="Who gets a copy.")
    bcc: Addresses | None = Field(None, description="Who gets a copy that the others do not see.")
    subject: Annotated[HeaderText, Field(max_length=2000)] = Field("", description="The subject, on one line.")
    body: str | None = Field(None, description="The text; `text` is the same.")
    text: str | None = Field(None, description="The text; `body` is the same.")
    html: str | None = Field(None, description="The mail as HTML, beside the text or alone.")
    sender: MailAddress | None = Field(
        None, alias="from", description="The sender; without one TASKFLOW_EMAIL_FROM of the worker."
    )
    reply_to: Addresses | None = Field(None, description="Where answers go.")
    headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict,
        max_length=50,
        description="Further headers, such as List-Unsubscribe.",
        json_schema_extra={"additionalProperties": False},
    )
    attachments: list[Attachment] = Field(
        default_factory=list, max_length=50, description="Files, 10 MiB in all at most."
    )

    @field_validator("text")
    @classmethod
    def _one_text(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("body") is not None:
            raise ValueError("give either body or text: they are the same")
        return value

    @field_validator("cc", "bcc")
    @classmethod
    def _not_too_many(cls, value: Any, info: ValidationInfo) -> Any:
        fields = (info.data.get("to"), info.data.get("cc"), value)  # of those that come before this one
        if sum(map(len, map(listed, fields))) > MAX_RECIPIENTS:
            raise ValueError(f"at most {MAX_RECIPIENTS} recipients in all: create a task for each, see /tasks/bulk")
        return value

    @field_validator("headers")
    @classmethod
    def _allowed(cls, value: dict[str, str]) -> dict[str, str]:
        names = [name.lower() for name in value]
        if forbidden := sorted(n for n in names if n in FORBIDDEN_HEADERS or n.startswith(FORBIDDEN_PREFIXES)):
            raise ValueError(f"not allowed here: {', '.join(forbidden)}")
        if len(set(names)) < len(names):
            raise ValueError("the same header twice, in different case")
        return value

    @field_validator("attachments")
    @classmethod
    def _not_too_large(cls, value: list[Attachment]) -> list[Attachment]:
        if sum(len(attachment.data) for attachment in value) > MAX_ATTACHMENTS_BYTES:
            raise ValueError("more than 10 MiB in all: send a link to large files")
        return value


def listed(value: str | list[str] | None) -> list[str]:
    """One, several or no addresses as a list."""
    return [] if value is None else [value] if isinstance(value, str) else value
