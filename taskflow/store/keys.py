"""Concurrency keys that tasks wait for."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.store.connection import repeat_on_conflict

Key = tuple[str, str]
"""A queue and a concurrency key in it."""
FIRST: Key = ("", "")
BATCH = 1000


def release_waiting_keys(connection: psycopg.Connection[Any], after: Key = FIRST) -> Key | None:
    """Let go what may run of up to `BATCH` keys that hold tasks up, in order, after this one; returns the last of them:
    go on after that, or None: there are no more."""

    def statement() -> Key | None:
        row = connection.execute(
            "SELECT last_queue, last_key FROM taskflow.release_waiting_keys(NULL, %s, %s, %s)", (*after, BATCH)
        ).fetchone()
        return None if row is None or row[0] is None else (row[0], row[1])

    return repeat_on_conflict(statement)
