"""What probes are answered."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from taskflow.web.models.base import Answer


class Status(Answer):
    """GET /live and /ready."""

    status: Literal["alive", "ready", "not ready"]
    time: datetime
    reason: str | None = None


class Health(Answer):
    """GET /health."""

    status: Literal["healthy", "unhealthy"]
    database: Literal["connected", "disconnected"]
    version: str
    time: datetime
