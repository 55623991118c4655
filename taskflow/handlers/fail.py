"""`fail`: fails on purpose. For trying out retries, dead letters and the alerts on them."""

from __future__ import annotations

from typing import NoReturn

from pydantic import BaseModel, ConfigDict, Field

from taskflow import DeadLetter, task


class Fail(BaseModel):
    """What the failure says, and whether a retry could help."""

    model_config = ConfigDict(strict=True, extra="forbid")

    message: str = Field("failed on request", max_length=10_000, description="The error's text.")
    permanent: bool = Field(False, description="True: no retry, the task becomes a dead letter at once.")


class FailedOnRequest(Exception):
    """The failure that the payload asked for."""


@task("fail")
def fail(payload: Fail) -> NoReturn:
    """Raise an error that is retried by the task's policy, or `DeadLetter` when it is to be permanent."""
    raise DeadLetter(payload.message) if payload.permanent else FailedOnRequest(payload.message)
