"""API keys: how they are made and what is stored of them. The key itself is shown once, to who creates it.

A key is 256 random bits, so that its SHA-256 tells nothing about it, and needs neither salt nor a slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from taskflow.store.connection import connect, errors_translated

SCOPES = ("read", "enqueue", "operate", "admin")
MARK = "tf_"  # by which people, and programs that look for leaked secrets, know a key
PREFIX_LENGTH = len(MARK) + 8
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


def any_live(dsn: str) -> bool:
    """Whether the database holds a key that opens the API. Raises `TaskflowError` where that cannot be found out."""
    with connect(dsn, name="server") as connection, errors_translated():
        row = connection.execute(ANY_LIVE).fetchone()
    return row is not None and bool(row[0])
