"""Leases: who leads, and whether it wants somebody else to, for a limited time, by the database's clock."""

from __future__ import annotations

from typing import Any

import psycopg

from taskflow.store.resources import query

LEADER = "leader"
OWNER_WANTED = "owner_wanted"
"""Of a leader that may not drop the days that have expired."""


def acquire(connection: psycopg.Connection[Any], name: str, holder: str, seconds: float) -> bool:
    """Take the lease or renew it; True if `holder` has it for `seconds` from now."""
    row = connection.execute("SELECT taskflow.acquire_lease(%s, %s, %s)", (name, holder, seconds)).fetchone()
    return bool(row and row[0])


def release(connection: psycopg.Connection[Any], name: str, holder: str) -> bool:
    """Give the lease up at once; False if `holder` did not have it any more."""
    row = connection.execute("SELECT taskflow.release_lease(%s, %s)", (name, holder)).fetchone()
    return bool(row and row[0])


def owner_wanted(connection: psycopg.Connection[Any]) -> str | None:
    """The holder of the lease "leader" if it wants an owner of the tables in its place; else None."""
    row = connection.execute(query("owner_wanted")).fetchone()
    return row[0] if row else None
