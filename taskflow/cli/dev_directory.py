"""The directory of `taskflow dev`: held by one at a time, so that a second one can say where the first runs."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from taskflow.errors import TaskflowError
from taskflow.settings.running_dev import ANNOUNCEMENT, LOCK


@dataclass(frozen=True, slots=True)
class Place:
    """The directory, while this process holds it."""

    path: Path

    def announce(self, url: str, *, own_database: str | None = None) -> None:
        """Leave word of who runs here, for others who try, and with `own_database` for commands that need no more.

        `own_database`: all is up; its connection string, empty where the database is somebody else's.
        """
        said = {"pid": os.getpid(), "url": url, "ready": own_database is not None, "database_url": own_database}
        new = self.path / f"{ANNOUNCEMENT}.new"
        new.write_text(json.dumps(said))
        new.replace(self.path / ANNOUNCEMENT)


@contextlib.contextmanager
def claimed(directory: Path) -> Iterator[Place]:
    """Make `directory` if need be, and hold it until the end of the block; the kernel lets go if we are killed.

    Raises `TaskflowError` when it cannot be written to, or somebody else holds it.
    """
    path = directory.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    except OSError as error:
        raise TaskflowError(f"Cannot write to {path}: {error.strerror}.") from error
    with lock:
        try:
            _hold(lock)
        except BlockingIOError:
            raise TaskflowError(_who_runs(path)) from None
        announcement = path / ANNOUNCEMENT
        announcement.unlink(missing_ok=True)
        try:
            yield Place(path)
        finally:
            announcement.unlink(missing_ok=True)


def _hold(lock: IO[str]) -> None:
    """Raises `BlockingIOError` if another holds it for longer than a command that only looks whether somebody does."""
    for pause in (0.02, 0.1, None):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if pause is None:
                raise
            time.sleep(pause)


def _who_runs(path: Path) -> str:
    try:
        other = json.loads((path / ANNOUNCEMENT).read_text())
        return f"taskflow dev runs here already: {other['url']} (process {other['pid']}, data in {path})."
    except (OSError, ValueError, KeyError, TypeError):
        return f"taskflow dev is just starting or stopping in {path}."
