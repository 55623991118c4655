"""What a handler logs of its attempt, kept until the attempt ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson

MAX_ENTRIES = 1000
MAX_BYTES = 256 * 1024


class Logs:
    """Entries as JSON values that PostgreSQL can store: at most 1,000 or 256 KiB, what comes later is counted.

    They belong to the attempt and not to its handler, so they are there however the attempt ends.
    """

    __slots__ = ("_bytes", "_entries", "dropped")

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._bytes = 0
        self.dropped = 0

    def add(self, entry: bytes) -> bool:
        """Keep a JSON object; False: there is no room for it."""
        if len(self._entries) >= MAX_ENTRIES or self._bytes + len(entry) > MAX_BYTES:
            self.dropped += 1
            return False
        self._bytes += len(entry)
        self._entries.append(orjson.loads(entry))
        return True

    def stored(self) -> list[dict[str, Any]]:
        """The entries so far, and how many were dropped."""
        if not self.dropped:
            return list(self._entries)
        note = f"{self.dropped} more entries were dropped: an execution keeps 1,000 entries or 256 KiB"
        return [*self._entries, {"at": datetime.now(UTC).isoformat(), "level": "warning", "message": note}]
