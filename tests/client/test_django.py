"""`connection=` with a connection of Django: the work is done in the transaction that Django has begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import django as django_package
import pytest
from django.conf import settings
from django.db import transaction
from django.db.utils import ConnectionHandler
from django.utils.connection import ConnectionProxy
from psycopg.conninfo import conninfo_to_dict

from taskflow import AsyncClient, Client, UniqueConflict

if not settings.configured:
    settings.configure(USE_TZ=True, LOGGING_CONFIG=None)
    django_package.setup()


@pytest.fixture
def django(dsn: str) -> Iterator[ConnectionProxy]:
    """What `django.db.connection` is: a stand-in for the connection of the thread."""
    given = conninfo_to_dict(dsn)
    place = {"NAME": given["dbname"], "USER": given["user"], "HOST": given["host"], "PORT": str(given.get("port", ""))}
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.postgresql", **place}})
    yield ConnectionProxy(handler, "default")
    handler.close_all()


@pytest.fixture
def atomic(django: ConnectionProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """`transaction.atomic()` on that connection."""
    monkeypatch.setattr(transaction, "get_connection", lambda using=None: django)
    return transaction.atomic


def test_a_task_commits_and_vanishes_with_the_block(
    client: Client, django: ConnectionProxy, atomic: Callable[[], Any], count: Callable[[], int]
) -> None:
    with atomic():
        enqueued = client.enqueue("mail", {"a": 1}, connection=django)
        assert count() == 0
        assert client.get(enqueued.id, connection=django).payload == {"a": 1}
    assert count() == 1
    with atomic():
        client.enqueue("mail", connection=django)
        client.copy([{"type": "mail"}] * 3, connection=django)
        transaction.set_rollback(True)
    assert count() == 1


def test_a_savepoint_of_django_takes_its_task_along(
    client: Client, django: ConnectionProxy, atomic: Callable[[], Any], count: Callable[[], int]
) -> None:
    with atomic():
        client.enqueue("mail", connection=django)
        with pytest.raises(UniqueConflict), atomic():
            client.enqueue_many([{"type": "mail", "unique_key": "k", "on_conflict": "error"}] * 2, connection=django)
    assert count() == 1


def test_many_tasks_outside_of_a_block_are_stored_all_or_none(
    client: Client, django: ConnectionProxy, count: Callable[[], int]
) -> None:
    client.enqueue_many([{"type": "mail"}] * 1_500, connection=django)
    client.copy([{"type": "mail"}] * 5, connection=django)
    assert count() == 1_505


def test_a_connection_to_another_database_is_refused_with_a_reason(client: Client) -> None:
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    with pytest.raises(TypeError, match="the connection of Django is to sqlite, and tasks are stored in PostgreSQL"):
        client.enqueue("mail", connection=handler["default"])
    handler.close_all()


def test_psycopg_2_below_django_is_refused_with_a_reason(
    client: Client, django: ConnectionProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    django.ensure_connection()
    monkeypatch.setattr(django._connections["default"], "connection", object())
    with pytest.raises(TypeError, match=r"a connection of Django needs psycopg 3 \(psycopg\[binary\]\)"):
        client.enqueue("mail", connection=django)
    monkeypatch.undo()


async def enqueue_async(dsn: str, connection: Any) -> None:
    async with AsyncClient(dsn) as client:
        await client.enqueue("mail", connection=connection)


def test_an_async_client_says_that_it_cannot_use_one(dsn: str, django: ConnectionProxy) -> None:
    with pytest.raises(TypeError, match="connections of Django are synchronous: use Client"):
        asyncio.run(enqueue_async(dsn, django))
