"""`?wait=`: requests that are held until a task ends.

However many wait, one thread asks the database, in one statement, which of their tasks are still live; the requests
hold a thread of the server each, but no connection. Beyond the capacity a request is refused, so that the rest of the
API always has threads.
"""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy import BigInteger, any_, bindparam, select
from sqlalchemy.dialects.postgresql import ARRAY

from taskflow.errors import TaskflowError
from taskflow.schema import tasks_live
from taskflow.stop_flag import StopFlag
from taskflow.web.database import Database
from taskflow.web.http.problems import Problem

# A task that somebody waits for usually ends soon or takes its time: ask often at first, then less.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.02, 0.25
SELECT_LIVE = select(tasks_live.c.id).where(tasks_live.c.id == any_(bindparam("ids", type_=ARRAY(BigInteger))))

log = logging.getLogger("taskflow.web")


class WaitingRoom:
    """Holds at most `capacity` requests at once. `closing` ends all waiting, for a server that shuts down."""

    def __init__(self, database: Database, capacity: int, closing: StopFlag) -> None:
        self._database = database
        self._capacity = capacity
        self._closing = closing
        self._lock = threading.Lock()
        self._guests: dict[threading.Event, int] = {}
        self._newest = 0.0
        self._watching = False

    def wait(self, task_id: int, seconds: float) -> None:
        """Return when the task is no longer live, or after `seconds`, or when the server shuts down.

        Raises `Problem` 503 when too many wait already.
        """
        ended = threading.Event()
        with self._lock:
            if len(self._guests) >= self._capacity:
                raise Problem(
                    "too_many_waiting", f"{self._capacity} requests wait already; ask again, or without wait."
                )
            self._guests[ended] = task_id
            self._newest = time.monotonic()
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._watch, name="taskflow-waiting-room", daemon=True).start()
        try:
            ended.wait(seconds)
        finally:
            with self._lock:
                self._guests.pop(ended, None)

    def _watch(self) -> None:
        """Runs while anybody waits."""
        while True:
            with self._lock:
                if not self._guests:
                    self._watching = False
                    return
                guests = dict(self._guests)
                pause = min(LONGEST_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, (time.monotonic() - self._newest) / 8))
            live = self._live(sorted(set(guests.values())))
            for ended, task_id in guests.items():
                if task_id not in live:
                    ended.set()
            self._closing.wait(pause)

    def _live(self, ids: list[int]) -> set[int]:
        """Those that are still live. None are, when waiting is of no use: the requests then find out themselves."""
        if self._closing.is_set():
            return set()
        try:
            return {task_id for (task_id,) in self._database.fetch(SELECT_LIVE, {"ids": ids})}
        except TaskflowError as error:
            log.warning("waiting_given_up", extra={"error": str(error)})
            return set()
