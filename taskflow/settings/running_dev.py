"""What a `taskflow dev` that runs in this directory says of itself: commands beside it need no settings."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from taskflow.settings.sources import Found, Layer

DIRECTORY = Path(".taskflow")
LOOPBACK = "127.0.0.1"
LOCK = "lock"
"""Held exclusively in that directory by the `taskflow dev` that runs there."""
ANNOUNCEMENT = "running.json"
"""In the directory of a `taskflow dev` while it runs: `pid`, `url`, and once all is up `ready` and, where the database
is its own, `database_url`."""


def of_running_dev() -> Layer:
    """The server and the database of the `taskflow dev` in ./.taskflow; nothing where none runs, or not yet.

    Only one of our own or of root is believed, that holds its lock, and only a server on this machine.
    """
    path = DIRECTORY / ANNOUNCEMENT
    try:
        if path.stat().st_uid not in (os.geteuid(), 0) or not _is_held(DIRECTORY / LOCK):
            return Layer()
        said = json.loads(path.read_text())
        if not said["ready"] or urlsplit(said["url"]).hostname != LOOPBACK:
            return Layer()
        values = {name: said[name] for name in ("url", "database_url") if said.get(name)}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return Layer()
    return Layer({name: Found(value, "dev", f"taskflow dev ({path})") for name, value in values.items()})


def _is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False  # and given back at once
