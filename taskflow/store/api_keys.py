"""API keys: how they are made and what is stored of them. The key itself is shown once, to who creates it.

A key is 256 random bits, so that its SHA-256 tells nothing about it, and needs neither salt nor a slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from taskflow.store.connection import connect, errors_translated

SCOPES = ("read", "enqueue", "operate", "admin")
MARK = "tf_"  # by which people, and programs that look for leaked secrets, know a key
PREFIX_LENGTH = len(MARK) + 8
COLUMNS = "id, name, prefix, scopes, queues, expires_at, last_used_at, revoked_at, created_at"

INSERT = f"""
INSERT INTO taskflow.api_keys (name, prefix, hash, scopes, queues, expires_at)
VALUES (%(name)s, %(prefix)s, %(hash)s, %(scopes)s, %(queues)s, %(expires_at)s) RETURNING {COLUMNS}
"""
SELECT = f"SELECT {COLUMNS} FROM taskflow.api_keys WHERE %(all)s OR revoked_at IS NULL ORDER BY id"
REVOKE = f"""
UPDATE taskflow.api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = %(id)s RETURNING {COLUMNS}
"""
RECORD = "INSERT INTO taskflow.audit_log (actor, action, target, details) VALUES (%s, %s, %s, %s)"
ANY_LIVE = """
SELECT EXISTS (SELECT FROM taskflow.api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))
"""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key before it is stored. `text` is the key itself, which nobody can find out later."""

    text: str
    prefix: str
    hash: bytes


def new_key() -> NewKey:
    """A random key."""
    text = MARK + secrets.token_urlsafe(32)
    return NewKey(text, text[:PREFIX_LENGTH], digest(text.encode()))


def digest(key: bytes) -> bytes:
    """What is stored of a key, and looked for."""
    return hashlib.sha256(key).digest()


def create(
    connection: psycopg.Connection[Any],
    *,
    name: str,
    scopes: Sequence[str],
    queues: Sequence[str] | None,
    expires_at: datetime | None,
    actor: str,
) -> tuple[str, dict[str, Any]]:
    """Store a new key and who made it; the key and its row. `queues` None: every queue. Raises `TaskflowError`."""
    key = new_key()
    values = {
        "name": name,
        "prefix": key.prefix,
        "hash": key.hash,
        "scopes": list(scopes),
        "queues": None if queues is None else list(queues),
        "expires_at": expires_at,
    }
    with errors_translated(), connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(INSERT, values).fetchone()
        assert row is not None
        cursor.execute(RECORD, [actor, "key.create", str(row["id"]), Jsonb({"name": name, "scopes": list(scopes)})])
    return key.text, row


def listed(connection: psycopg.Connection[Any], *, revoked: bool) -> list[dict[str, Any]]:
    """The keys in the order of their creation; `revoked`: those too."""
    with errors_translated(), connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(SELECT, {"all": revoked}).fetchall()


def revoke(connection: psycopg.Connection[Any], key_id: int, *, actor: str) -> dict[str, Any] | None:
    """Revoke a key, again without effect; its row, None if there is none."""
    with errors_translated(), connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(REVOKE, {"id": key_id}).fetchone()
        if row is not None:
            cursor.execute(RECORD, [actor, "key.revoke", str(key_id), Jsonb({"name": row["name"]})])
    return row


def any_live(dsn: str) -> bool:
    """Whether the database holds a key that opens the API. Raises `TaskflowError` where that cannot be found out."""
    with connect(dsn, name="server") as connection, errors_translated():
        row = connection.execute(ANY_LIVE).fetchone()
    return row is not None and bool(row[0])
