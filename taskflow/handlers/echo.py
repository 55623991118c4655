"""`echo`: gives back what it got. The first task of everybody, and the smallest proof that all parts work."""

from __future__ import annotations

from typing import Any

from taskflow import task


@task("echo")
def echo(payload: dict[str, Any]) -> dict[str, Any]:
    """Return ``{"echoed": payload}``. Any object will do; without a model it comes back exactly as it is stored."""
    return {"echoed": payload}
