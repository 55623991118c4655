"""API keys in requests and answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from taskflow.web.models.base import CENTURY_SECONDS, Answer, Body, QueueName, TimeField

Scope = Literal["read", "enqueue", "operate", "admin"]


class KeyBody(Body):
    """POST /keys."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="what people call it: who or what uses it")]
    scopes: Annotated[
        list[Scope],
        Field(
            min_length=1, max_length=4, description="`admin` may do everything, the others nothing but what they say"
        ),
    ]
    queues: Annotated[list[QueueName] | None, Field(min_length=1, max_length=1000)] = Field(
        None, description="the queues it is limited to; null: every queue"
    )
    expires_at: TimeField = None
    expires_in: float | None = Field(None, gt=0, le=CENTURY_SECONDS, description="seconds, in place of expires_at")

    @field_validator("queues")
    @classmethod
    def _not_for_admins(cls, value: list[str] | None, info: ValidationInfo) -> list[str] | None:
        if value is not None and "admin" in info.data.get("scopes", ()):
            raise PydanticCustomError(
                "contradiction", "cannot be given with the scope admin, which concerns all queues"
            )
        return value

    @field_validator("expires_at")
    @classmethod
    def _to_come(cls, value: datetime | None) -> datetime | None:
        if value is not None and value <= datetime.now(UTC):
            raise PydanticCustomError("past", "must be in the future")
        return value

    @field_validator("expires_in")
    @classmethod
    def _one_end(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value is not None and info.data.get("expires_at") is not None:
            raise PydanticCustomError("contradiction", "cannot be given together with expires_at")
        return value

    @property
    def end(self) -> datetime | None:
        """When the key expires; None: never."""
        return self.expires_at if self.expires_in is None else datetime.now(UTC) + timedelta(seconds=self.expires_in)


class Key(Answer):
    """An API key, without the key itself."""

    id: str
    name: str
    prefix: str = Field(description="the first characters of the key, to tell it from others")
    scopes: list[Scope]
    queues: list[str] | None
    state: Literal["active", "expired", "revoked"]
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="exact to a minute")
    revoked_at: datetime | None
    created_at: datetime


class NewKey(Key):
    """POST /keys."""

    key: str | None = Field(
        description="the key: shown now and never again, so null where an Idempotency-Key is sent a second time"
    )


class Keys(Answer):
    """GET /keys."""

    keys: list[Key]
    count: int
    next_cursor: str | None


class KeyRevoked(Answer):
    """DELETE /keys/{id}."""

    message: Literal["key revoked"]
    id: str
