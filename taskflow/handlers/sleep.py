"""`sleep`: waits. For trying out timeouts, cancelling, draining and concurrency."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from taskflow import task


class Sleep(BaseModel):
    """How long to wait. The task's own `timeout` still holds: a longer sleep needs a longer timeout."""

    model_config = ConfigDict(strict=True, extra="forbid")

    seconds: float = Field(ge=0, le=86_400, allow_inf_nan=False, description="Seconds to wait, 0 to 86400 (one day).")


@task("sleep")
async def sleep(payload: Sleep) -> dict[str, Any]:
    """Wait `seconds` and return how long it was, as ``{"slept_seconds": 1.5}``.

    It is a coroutine: thousands can wait in one process, and a cancel or a timeout ends the wait at once.
    """
    started = monotonic()
    await asyncio.sleep(payload.seconds)
    return {"slept_seconds": round(monotonic() - started, 3)}
