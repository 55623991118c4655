"""Removal of small rows that have had their time: idempotency keys, rate windows, old statistics."""

from __future__ import annotations

from typing import Any

import psycopg

BATCH = 1000


def expire_rows(connection: psycopg.Connection[Any]) -> bool:
    """Remove one batch; True if there is more to remove."""
    row = connection.execute("SELECT taskflow.expire_rows(%s)", (BATCH,)).fetchone()
    return bool(row and row[0] >= BATCH)
