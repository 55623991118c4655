"""Leases: who leads, for a limited time, by the database's clock."""

from __future__ import annotations

from typing import Any

import psycopg


def acquire(connection: psycopg.Connection[Any], name: str, holder: str, seconds: float) -> bool:
    """Take the lease or renew it; True if `holder` has it for `seconds` from now."""
    row = connection.execute("SELECT taskflow.acquire_lease(%s, %s, %s)", (name, holder, seconds)).fetchone()
    return bool(row and row[0])


def release(connection: psycopg.Connection[Any], name: str, holder: str) -> bool:
    """Give the lease up at once; False if `holder` did not have it any more."""
    row = connection.execute("SELECT taskflow.release_lease(%s, %s)", (name, holder)).fetchone()
    return bool(row and row[0])
