"""The directory in which the processes of one server add up their counters.

prometheus_client looks for it when it is imported, and shares memory through files in it. A server that was killed
leaves its directory behind, in memory: the next one to start removes it. The lock tells that nobody uses it any more,
also where process ids say nothing, between containers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "taskflow-metrics-"
LOCK = "lock"
# Younger ones may just be in the making, not locked yet.
MIN_AGE_SECONDS = 60.0


@contextlib.contextmanager
def shared_metrics(parent: Path | None = None) -> Iterator[None]:
    """Sets the variable for this block, unless somebody has; the processes forked in it use the same directory."""
    if VARIABLE in os.environ:
        yield
        return
    parent = parent or _parent()
    remove_abandoned(parent)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    owner = os.getpid()
    with (directory / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.environ[VARIABLE] = str(directory)
        try:
            yield
        finally:
            if os.getpid() == owner:  # the forked processes come by here as well when they end
                os.environ.pop(VARIABLE)
                shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned(parent: Path, *, min_age_seconds: float = MIN_AGE_SECONDS) -> None:
    """Remove the directories of servers that were killed."""
    for directory in parent.glob(f"{PREFIX}*"):
        # Another user's, or another server has been faster: not ours to remove.
        with contextlib.suppress(OSError):
            if time.time() - directory.stat().st_mtime < min_age_seconds:
                continue
            with (directory / LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory)


def _parent() -> Path:
    memory = Path("/dev/shm")  # noqa: S108 (a place, and what is made in it has a name that nobody can guess)
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
