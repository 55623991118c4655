"""Behind a pooler in transaction mode the client and the API prepare no statements: another's may have their names."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import conninfo
from sqlalchemy import text

from taskflow import AsyncClient, Client
from taskflow.settings import load
from taskflow.web.database import Database

PREPARED = "SELECT count(*) FROM pg_prepared_statements"


@pytest.fixture
def pooled_dsn(dsn: str) -> Iterator[str]:
    """The test's database through something that tells its clients process ids of its own making, as PgBouncer does."""
    to = conninfo.conninfo_to_dict(dsn)
    server = Path(str(to["host"])) / f".s.PGSQL.{to.get('port', 5432)}"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=relay_all, args=(listener, str(server)), daemon=True).start()
        yield conninfo.make_conninfo(
            dsn, host="127.0.0.1", port=listener.getsockname()[1], sslmode="disable", gssencmode="disable"
        )
        listener.shutdown(socket.SHUT_RDWR)


def relay_all(listener: socket.socket, server: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        upstream = socket.socket(socket.AF_UNIX)
        upstream.connect(server)
        threading.Thread(target=copy_bytes, args=(client, upstream), daemon=True).start()
        threading.Thread(target=relay_answers, args=(upstream, client), daemon=True).start()


def relay_answers(upstream: socket.socket, client: socket.socket) -> None:
    """What the server sends until it is ready, with 1 added to the process id of BackendKeyData; then the rest."""
    stream, kind = upstream.makefile("rb", buffering=0), b""
    while kind not in (b"Z", b"E"):
        kind = stream.read(1)
        if not kind:
            return
        length = stream.read(4)
        body = stream.read(struct.unpack("!i", length)[0] - 4)
        if kind == b"K":
            body = struct.pack("!i", struct.unpack("!i", body[:4])[0] + 1) + body[4:]
        client.sendall(kind + length + body)
    copy_bytes(upstream, client)


def copy_bytes(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    finally:
        source.close()
        target.close()


def prepared_by(client: Client) -> int:
    with client._connections().connection() as connection:
        count: int = connection.execute(PREPARED, prepare=False).fetchone()[0]
        return count


def test_a_client_behind_a_pooler_prepares_nothing(dsn: str, pooled_dsn: str) -> None:
    with Client(dsn, pool_size=1) as direct, Client(pooled_dsn, pool_size=1) as pooled:
        for client in (direct, pooled):
            for _ in range(3):
                client.enqueue("echo")
        assert prepared_by(direct) > 0
        assert prepared_by(pooled) == 0


def test_an_async_client_behind_a_pooler_prepares_nothing(pooled_dsn: str) -> None:
    async def prepared() -> int:
        async with AsyncClient(pooled_dsn, pool_size=1) as client:
            for _ in range(3):
                await client.enqueue("echo")
            pool = await client._connections()
            async with pool.connection() as connection:
                cursor = await connection.execute(PREPARED, prepare=False)
                count: int = (await cursor.fetchone())[0]
                return count

    assert asyncio.run(prepared()) == 0


def test_the_api_behind_a_pooler_prepares_nothing_and_sets_nothing_for_the_session(dsn: str, pooled_dsn: str) -> None:
    found = []
    for url in (dsn, pooled_dsn):
        database = Database(load(database_url=url, web_connections=1))
        for _ in range(3):
            database.fetch(text("SELECT 1"))
        with database.driver_connection() as connection:
            prepared = connection.execute(PREPARED, prepare=False).fetchone()
            found.append((prepared[0] > 0, connection.execute("SHOW statement_timeout", prepare=False).fetchone()[0]))
        database.engine.dispose()

    assert found == [(True, "15s"), (False, "0")]
