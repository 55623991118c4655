"""The clients themselves: their connections, their twinship, their types."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import taskflow
from taskflow import AsyncClient, Client, DatabaseUnavailable, SettingsError, TaskflowError, errors

ROOT = Path(__file__).parents[2]


def test_a_client_connects_when_it_is_first_used(dsn, connection):
    def sessions():
        mine = "application_name = 'taskflow client' AND datname = current_database()"
        return connection.execute(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}").fetchone()[0]

    with Client(dsn) as client:
        assert sessions() == 0
        client.enqueue("mail")
        assert sessions() == 1


def test_a_closed_client_can_be_used_again(dsn):
    client = Client(dsn)
    client.close()
    client.enqueue("mail")
    client.close()
    assert client.enqueue("mail").created
    client.close()


def test_a_client_survives_a_restart_of_its_server(cluster_factory):
    from taskflow.store.migrate import migrate

    server = cluster_factory()
    dsn = server.dsn("postgres")
    migrate(dsn)
    with Client(dsn) as client:
        first = client.enqueue("mail")
        server.stop()
        server.start()
        assert client.get(first.id).state == "pending"
        assert client.enqueue("mail").created


def test_without_a_server_the_error_comes_at_once():
    with Client("postgresql://localhost:1/none") as client, pytest.raises(DatabaseUnavailable):
        client.enqueue("mail")


def test_a_database_that_does_not_exist_is_named(cluster):
    with Client(cluster.dsn("no_such_database")) as client, pytest.raises(TaskflowError, match="no_such_database"):
        client.enqueue("mail")


def test_without_a_connection_string_the_error_says_what_to_set():
    with Client() as client, pytest.raises(SettingsError, match="DATABASE_URL"):
        client.enqueue("mail")


def test_a_connection_string_that_is_none_is_refused_without_repeating_it():
    with Client("mysql://me:secret@host/db") as client, pytest.raises(SettingsError) as refused:
        client.enqueue("mail")
    assert "secret" not in str(refused.value)


def test_the_connection_string_comes_from_the_environment(dsn, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", dsn)
    with Client() as client:
        assert client.enqueue("mail").created


def test_threads_share_a_client(client):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as threads:
        ids = {enqueued.id for enqueued in threads.map(lambda n: client.enqueue("mail", {"n": n}), range(200))}
    assert len(ids) == 200


def test_the_async_client_does_all_that_the_other_does(dsn, end):
    async def scenario():
        async with AsyncClient(dsn) as client:
            ids = [enqueued.id for enqueued in await asyncio.gather(*(client.enqueue("mail") for _ in range(20)))]
            assert len(set(ids)) == 20
            assert [e.created for e in await client.enqueue_many([{"type": "mail", "unique_key": "k"}] * 2)] == [
                True,
                False,
            ]
            assert await client.copy([{"type": "mail"}] * 3) == 3
            assert (await client.get(ids[0])).state == "pending"
            assert await client.executions(ids[0]) == []
            assert await client.cancel(ids[0]) == "cancelled"
            assert await client.retry(ids[0], {"n": 2}) == "pending"
            with pytest.raises(taskflow.WaitTimeout):
                await client.wait(ids[0], timeout=0.02)
            end(ids[0])
            assert (await client.wait(ids[0], timeout=10)).payload == {"n": 2}
            with pytest.raises(taskflow.TaskNotFound):
                await client.get(123456)

    asyncio.run(scenario())


def test_the_synchronous_client_is_made_from_the_asynchronous_one():
    checked = subprocess.run(
        [sys.executable, ROOT / "ops" / "generate-client", "--check"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_twins_have_the_same_methods_and_parameters():
    def methods(kind):
        public = {name: value for name, value in vars(kind).items() if inspect.isfunction(value) and name[0] != "_"}
        return {name: [*inspect.signature(value).parameters] for name, value in public.items()}

    assert methods(Client) == methods(AsyncClient)
    assert {"enqueue", "enqueue_many", "copy", "get", "executions", "wait", "cancel", "retry"} <= set(methods(Client))


def test_every_public_name_can_be_imported_and_no_other():
    for name in taskflow.__all__:
        assert getattr(taskflow, name) is not None
        assert name in dir(taskflow)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = taskflow.nonsense


def test_an_error_below_a_public_one_is_public():
    public = {error for name in taskflow.__all__ if isinstance(error := getattr(taskflow, name), type)}
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if not public.isdisjoint(error.__bases__) and TaskflowError not in error.__bases__:
            assert name in taskflow.__all__


def test_importing_the_package_imports_no_driver():
    program = (
        "import sys, taskflow; print([m for m in ('psycopg', 'pydantic', 'sqlalchemy', 'flask') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


USE = """
from dataclasses import dataclass
from taskflow import Client, Context, NewTask, task

@dataclass
class Mail:
    to: str

@task("mail", queue="outbox", retry="linear")
def send(payload: Mail, context: Context) -> int:
    return len(payload.to)

@task
async def plain(payload: dict[str, object]) -> None: ...

length: int = send(Mail("me"), context=Context.__new__(Context))
created: bool = send.enqueue(Mail("me"), priority="high").created
send.enqueue({"to": "me"}); plain.enqueue({"a": 1}); Client().enqueue(send, Mail("me"), tags=["a"])
send.enqueue(Mail("me"), priority="urgent")  # error
send.enqueue(5)  # error
send.enqueue(Mail("me"), max_retries=3)  # error
task("x", que="y")  # error
send("me")  # error
"""


def test_users_get_types(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "use.py")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    lines = {line.split(":")[1] for line in checked.stdout.splitlines() if ": error:" in line and "use.py" in line}
    wanted = {str(number) for number, line in enumerate(USE.splitlines(), 1) if line.endswith("# error")}
    assert lines == wanted, checked.stdout
