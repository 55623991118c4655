"""Clients whose keys are limited, for the tests of what these may see and do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from flask import Flask
from flask.testing import FlaskClient

from taskflow.store.api_keys import new_key

INSERT = "INSERT INTO taskflow.api_keys (name, prefix, hash, scopes, queues) VALUES ('limited', %s, %s, %s, %s)"


def limited_to(
    make_app: Callable[..., Flask],
    connection: psycopg.Connection[Any],
    *queues: str | None,
    scopes: Sequence[str] = ("read", "enqueue", "operate"),
) -> FlaskClient:
    """A client of an application that asks for keys, with a new one for these queues and scopes; None: every queue."""
    names = [name for name in queues if name is not None]
    key = new_key()
    connection.execute(INSERT, [key.prefix, key.hash, list(scopes), names or None])
    client = make_app(auth="on").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key.text}"
    return client
