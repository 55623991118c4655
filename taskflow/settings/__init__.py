"""The settings: defaults, then `taskflow.toml`, then the environment, then flags; every problem listed at once."""

from taskflow.settings.loading import Resolution, load, load_beside_nothing, process_settings, resolve, valid
from taskflow.settings.notices import Notice, notices
from taskflow.settings.settings import Settings
from taskflow.settings.sources import Found

__all__ = [
    "Found",
    "Notice",
    "Resolution",
    "Settings",
    "load",
    "load_beside_nothing",
    "notices",
    "process_settings",
    "resolve",
    "valid",
]
