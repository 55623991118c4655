"""Clients whose keys are limited, for the tests of what these may see and do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from flask import Flask
from flask.testing import FlaskClient

from taskflow.store import api_keys


def limited_to(
    make_app: Callable[..., Flask],
    connection: psycopg.Connection[Any],
    *queues: str | None,
    scopes: Sequence[str] = ("read", "enqueue", "operate"),
) -> FlaskClient:
    """A client of an application that asks for keys, with a new one for these queues and scopes; None: every queue."""
    names = [name for name in queues if name is not None]
    key, _ = api_keys.create(
        connection, name="limited", scopes=scopes, queues=names or None, expires_at=None, actor="the test"
    )
    client = make_app(auth="on").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client
