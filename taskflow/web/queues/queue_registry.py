"""An unknown queue is created with defaults: a row that operators can find, list and change."""

from __future__ import annotations

import time

from sqlalchemy.dialects.postgresql import insert

from taskflow.schema import queues
from taskflow.web.database import Database

MAX_AGE_SECONDS = 30.0
MAX_NAMES = 10_000
CREATE_QUEUE = insert(queues).on_conflict_do_nothing()


class QueueRegistry:
    """Remembers for half a minute which queues exist, so that only the first task of one pays for looking."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[str, float] = {}

    def ensure(self, name: str | None) -> None:
        """Create the queue if it does not exist. None: the default one, which always exists."""
        if name is None or time.monotonic() - self._seen.get(name, float("-inf")) < MAX_AGE_SECONDS:
            return
        self._database.call(CREATE_QUEUE, {"name": name})
        if len(self._seen) >= MAX_NAMES:
            self._seen.clear()
        self._seen[name] = time.monotonic()

    def forget(self, name: str) -> None:
        """It has been deleted: the next task of it creates it again."""
        self._seen.pop(name, None)
