"""Concurrency keys that tasks wait for."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.store.connection import repeat_on_conflict


def release_waiting_keys(connection: psycopg.Connection[Any]) -> list[str]:
    """Let go what may run of every key that tasks wait for; returns the queues in which something may run now."""

    def statement() -> list[str]:
        row = connection.execute("SELECT taskflow.release_waiting_keys()").fetchone()
        return list(row[0]) if row else []

    return repeat_on_conflict(statement)
