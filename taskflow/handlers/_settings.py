"""The settings, for handlers."""

from __future__ import annotations

from functools import cache

from taskflow.settings import Settings, load


@cache
def settings() -> Settings:
    """Read from the environment once a process: the worker has checked them at its start."""
    return load()
