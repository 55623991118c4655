"""A value from the database that may be a little old: read by one request in a while, and free for all others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from taskflow.errors import TaskflowError

Value = TypeVar("Value")


class Fresh(Generic[Value]):
    """What `read` gives, never older than `max_age` seconds, and read anew once it is older than `refresh_after`.

    While one thread reads, the others go on with what they have, as long as that is young enough; so a slow database
    holds up one request, not all. Ages count from before the reading, since what is read may have changed during it.
    """

    def __init__(self, read: Callable[[], Value], *, refresh_after: float, max_age: float) -> None:
        self._read = read
        self._refresh_after = refresh_after
        self._max_age = max_age
        self._lock = threading.Lock()
        self._value: Value | None = None
        self._read_at = float("-inf")
        self._failed_at = float("-inf")
        self._failure: TaskflowError | None = None

    def get(self) -> Value:
        """The value. Raises the `TaskflowError` of a reading that failed, when what is there is too old."""
        return self.get_newer_than(self._refresh_after, self._max_age)

    def get_last(self) -> Value | None:
        """What was read last, however old; None if nothing was."""
        return self._value

    def get_newer_than(self, refresh_after: float, max_age: float) -> Value:
        """`get` with ages for this once."""
        asked_at = time.monotonic()
        age = asked_at - self._read_at
        if age < refresh_after or not self._lock.acquire(blocking=age >= max_age):
            return self._value  # type: ignore[return-value]  # it has been read: its age is finite
        try:
            started = time.monotonic()
            # A reading that began after this one was asked for is new enough for it.
            if started - self._read_at >= refresh_after and self._read_at < asked_at:
                self._read_once(started, asked_at)
            return self._value  # type: ignore[return-value]
        finally:
            self._lock.release()

    def _read_once(self, started: float, asked_at: float) -> None:
        if self._failure is not None and self._failed_at > asked_at:
            raise self._failure  # who waited while another one failed does not try again, one after the other
        try:
            self._value = self._read()
        except TaskflowError as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
        self._read_at, self._failure = started, None
