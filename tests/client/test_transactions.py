"""The task belongs to the caller's transaction, whatever kind of connection that is on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from taskflow import AsyncClient, Client, InvalidTask, NotAllowed, SchemaMismatch, UniqueConflict, task
from taskflow.tasks.registry import Registry

DRIVERS = ("postgresql+psycopg://", "postgresql+psycopg2://")


@task("mail", queue="outbox", registry=Registry())
def send(payload: dict): ...


@pytest.fixture
def client(dsn):
    """A client that could not connect by itself: what works, works over the caller's connection."""
    return Client("postgresql://nobody@localhost:1/nowhere")


@pytest.fixture(params=DRIVERS)
def engine(dsn, request):
    made = create_engine(request.param, connect_args=psycopg.conninfo.conninfo_to_dict(dsn), poolclass=NullPool)
    yield made
    made.dispose()


def test_a_rolled_back_psycopg_transaction_leaves_no_task(client, dsn, count):
    with psycopg.connect(dsn) as own:
        enqueued = client.enqueue("mail", connection=own)
        assert client.get(enqueued.id, connection=own).state == "pending"
        assert count() == 0
        own.rollback()
    assert count() == 0


def test_a_committed_psycopg_transaction_leaves_its_task(client, dsn, count):
    with psycopg.connect(dsn) as own:
        client.enqueue("mail", connection=own)
        assert own.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    assert count() == 1


def test_the_factories_of_the_callers_connection_do_not_matter(client, dsn):
    with psycopg.connect(dsn, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as own:
        psycopg.types.json.set_json_loads(str, own)
        enqueued = client.enqueue("mail", {"a": 1}, connection=own)
        assert client.get(enqueued.id, connection=own).payload == {"a": 1}


def test_a_refused_task_leaves_the_decision_to_the_caller(client, dsn, count):
    with psycopg.connect(dsn) as own:
        client.enqueue("mail", unique_key="k", connection=own)
        with pytest.raises(UniqueConflict), own.transaction():
            client.enqueue("mail", unique_key="k", on_conflict="error", connection=own)
        client.enqueue("mail", connection=own)
    assert count() == 2


@pytest.mark.parametrize("commit", [True, False])
def test_many_tasks_belong_to_the_callers_transaction(client, dsn, count, commit):
    with psycopg.connect(dsn) as own:
        client.enqueue_many([{"type": "mail"}] * 2_500, connection=own)
        client.copy([{"type": "mail"}] * 2_500, connection=own)
        assert count() == 0
        own.commit() if commit else own.rollback()
    assert count() == (5_000 if commit else 0)


def test_many_tasks_on_an_autocommit_connection_are_stored_all_or_none(client, connection, count):
    tasks = [{"type": "mail"}] * 1_500 + [{"type": "mail", "unique_key": "k", "on_conflict": "error"}] * 2
    with pytest.raises(UniqueConflict):
        client.enqueue_many(tasks, connection=connection)
    with pytest.raises(InvalidTask):
        client.copy(
            ({"type": "mail", "queue": "q"} if n < 10_500 else {"type": ""} for n in range(11_000)),
            connection=connection,
        )
    assert count() == 0
    client.enqueue_many(tasks[:-1], connection=connection)
    assert count() == 1_501


MANY = [{"type": "mail"}] * 1_500
REFUSED = [*MANY, *[{"type": "mail", "unique_key": "k", "on_conflict": "error"}] * 2]


@pytest.mark.parametrize("make", [lambda engine: engine.connect(), Session], ids=["connection", "session"])
def test_many_tasks_on_a_sqlalchemy_connection_in_autocommit_are_stored_all_or_none(client, engine, count, make):
    with make(engine.execution_options(isolation_level="AUTOCOMMIT")) as own:
        with pytest.raises(UniqueConflict):
            client.enqueue_many(REFUSED, connection=own)
        assert count() == 0
        client.enqueue_many(MANY, connection=own)
        assert count() == 1_500
        own.execute(text("BEGIN"))  # by hand: the transaction is the caller's
        client.enqueue_many(MANY, connection=own)
        own.execute(text("ROLLBACK"))
    assert count() == 1_500


@pytest.mark.parametrize("make", [lambda engine: engine.connect(), AsyncSession], ids=["connection", "session"])
def test_many_tasks_on_sqlalchemys_async_connection_in_autocommit_are_stored_all_or_none(dsn, count, make):
    async def scenario():
        client = AsyncClient("postgresql://nobody@localhost:1/nowhere")
        connect_args = psycopg.conninfo.conninfo_to_dict(dsn)
        engine = create_async_engine(
            DRIVERS[0], connect_args=connect_args, poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        async with make(engine) as own:
            with pytest.raises(UniqueConflict):
                await client.enqueue_many(REFUSED, connection=own)
            assert count() == 0
            await client.enqueue_many(MANY, connection=own)
        await engine.dispose()

    asyncio.run(scenario())
    assert count() == 1_500


@pytest.mark.parametrize("commit", [True, False])
def test_a_sqlalchemy_connections_transaction_decides(client, engine, count, commit):
    with engine.connect() as own:
        enqueued = client.enqueue(send, {"a": 1}, tags=["x"], connection=own)
        client.enqueue_many([{"type": "mail"}] * 3, connection=own)
        assert client.get(enqueued.id, connection=own).tags == ["x"]
        assert count() == 0
        own.commit() if commit else own.rollback()
    assert count() == (4 if commit else 0)


@pytest.mark.parametrize("commit", [True, False])
def test_a_sqlalchemy_sessions_transaction_decides(client, engine, count, commit):
    with Session(engine) as own:
        own.execute(text("SELECT 1"))
        client.enqueue("mail", {"a": ":b %s"}, connection=own)
        assert count() == 0
        own.commit() if commit else own.rollback()
    assert count() == (1 if commit else 0)


def test_a_scoped_session_is_a_session(client, engine, count):
    own = scoped_session(sessionmaker(engine))
    client.enqueue("mail", connection=own)
    assert count() == 0
    own.commit()
    own.remove()
    assert count() == 1


def test_errors_below_sqlalchemy_are_errors_of_taskflow(client, engine, connection):
    rival = client.enqueue("mail", unique_key="k", connection=connection)
    with engine.connect() as own:
        with pytest.raises(UniqueConflict) as refused:
            client.enqueue("mail", unique_key="k", on_conflict="error", connection=own)
        assert refused.value.conflicting_task_id == rival.id
        own.rollback()
        with pytest.raises(InvalidTask) as refused:
            client.enqueue("mail", run_at=datetime(1999, 1, 1, tzinfo=UTC), connection=own)
        assert refused.value.constraint == "run_at_is_a_finite_time"


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize(
    "make", [lambda engine: engine.connect(), Session, lambda e: scoped_session(sessionmaker(e))()]
)
def test_copy_below_sqlalchemy_belongs_to_its_transaction(client, dsn, count, make, commit):
    engine = create_engine(DRIVERS[0], connect_args=psycopg.conninfo.conninfo_to_dict(dsn), poolclass=NullPool)
    with make(engine) as own:
        assert client.copy([{"type": "mail"}] * 5, connection=own) == 5
        assert count() == 0
        own.commit() if commit else own.rollback()
    assert count() == (5 if commit else 0)


def test_copy_below_another_driver_is_refused_with_advice(client, dsn):
    engine = create_engine(DRIVERS[1], connect_args=psycopg.conninfo.conninfo_to_dict(dsn), poolclass=NullPool)
    with engine.connect() as own, pytest.raises(TypeError, match="enqueue_many works"):
        client.copy([{"type": "mail"}], connection=own)


@pytest.mark.parametrize("commit", [True, False])
def test_an_async_psycopg_transaction_decides(client, dsn, count, commit):
    async def scenario():
        client = AsyncClient("postgresql://nobody@localhost:1/nowhere")
        async with await psycopg.AsyncConnection.connect(dsn) as own:
            await client.enqueue("mail", connection=own)
            await send.enqueue_async({"a": 1}, connection=own)
            await client.enqueue_many([{"type": "mail"}] * 1_500, connection=own)
            await client.copy([{"type": "mail"}] * 5, connection=own)
            assert count() == 0
            await (own.commit() if commit else own.rollback())

    asyncio.run(scenario())
    assert count() == (1_507 if commit else 0)


@pytest.mark.parametrize("commit", [True, False])
def test_sqlalchemys_async_transactions_decide(dsn, count, commit):
    async def scenario():
        client = AsyncClient("postgresql://nobody@localhost:1/nowhere")
        engine = create_async_engine(
            DRIVERS[0], connect_args=psycopg.conninfo.conninfo_to_dict(dsn), poolclass=NullPool
        )
        async with engine.connect() as own:
            await client.enqueue("mail", connection=own)
            await client.copy([{"type": "mail"}] * 5, connection=own)
            await (own.commit() if commit else own.rollback())
        async with AsyncSession(engine) as own:
            await client.enqueue("mail", connection=own)
            await client.copy([{"type": "mail"}] * 5, connection=own)
            await (own.commit() if commit else own.rollback())
        async with async_sessionmaker(engine)() as own:
            await send.enqueue_async({"a": 1}, connection=own)
            await (own.commit() if commit else own.rollback())
        await engine.dispose()

    asyncio.run(scenario())
    assert count() == (13 if commit else 0)


def test_a_connection_of_the_wrong_kind_is_refused_with_advice(client, dsn, connection):
    async def scenario():
        async with await psycopg.AsyncConnection.connect(dsn) as own:
            with pytest.raises(TypeError, match="use AsyncClient"):
                client.enqueue("mail", connection=own)
            with pytest.raises(TypeError, match="use AsyncClient"):
                client.copy([], connection=own)
        with pytest.raises(TypeError, match="use Client"):
            await AsyncClient(dsn).enqueue("mail", connection=connection)

    asyncio.run(scenario())
    for odd in (dsn, connection.cursor()):
        with pytest.raises(TypeError, match="psycopg connection, a SQLAlchemy"):
            client.enqueue("mail", connection=odd)
    with pytest.raises(TypeError, match=r"not builtins.str; for a URL there is Client\(url\)"):
        client.enqueue("mail", connection="postgresql://me:xyzzy@localhost/db")


def test_a_missing_right_is_an_error_of_taskflow(client, dsn, connection):
    connection.execute("CREATE ROLE nobody_special")
    try:
        connection.execute("SET ROLE nobody_special")
        with pytest.raises(NotAllowed, match=r"taskflow_producer creates tasks.*taskflow grants"):
            client.enqueue("mail", connection=connection)
    finally:
        connection.execute("RESET ROLE")
        connection.execute("DROP ROLE nobody_special")


def test_a_database_without_the_schema_is_an_error_of_taskflow(client, empty_dsn):
    with psycopg.connect(empty_dsn) as own, pytest.raises(SchemaMismatch, match="taskflow migrate"):
        client.enqueue("mail", connection=own)
