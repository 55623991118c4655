"""What a `taskflow dev` that runs in this directory says of itself: commands beside it need no settings."""

from __future__ import annotations

import json
import os
from pathlib import Path

from taskflow.settings.sources import Found, Layer

DIRECTORY = Path(".taskflow")
ANNOUNCEMENT = "running.json"
"""In the directory of a `taskflow dev` while it runs: `pid`, `url`, and once all is up `ready` and, where the database
is its own, `database_url`."""


def of_running_dev() -> Layer:
    """The server and the database of the `taskflow dev` in ./.taskflow; nothing where none runs, or not yet."""
    path = DIRECTORY / ANNOUNCEMENT
    try:
        said = json.loads(path.read_text())
        if not said["ready"] or not _is_alive(said["pid"]):
            return Layer()
        values = {name: said[name] for name in ("url", "database_url") if said.get(name)}
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        return Layer()
    return Layer({name: Found(value, "dev", f"taskflow dev ({path})") for name, value in values.items()})


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
