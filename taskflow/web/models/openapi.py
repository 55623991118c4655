"""The OpenAPI document, as far as it is described by itself."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from taskflow.web.models.base import Answer


class OpenApi(Answer):
    """GET /openapi.json."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
