from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from taskflow import Context, InvalidPayload, SettingsError, TaskHandler, task
from taskflow.client import default_client
from taskflow.tasks.registry import Registry


class Thumbnail(BaseModel):
    url: str


@dataclass
class Letter:
    to: str


TYPES = Registry()


@task("thumbnail", queue="images", max_attempts=3, timeout=60, retry="exponential", registry=TYPES)
def thumbnail(payload: Thumbnail, context: Context) -> dict[str, str]:
    return {"url": payload.url}


@task("letter", registry=TYPES)
async def letter(payload: Letter) -> str:
    return payload.to


@task("plain", registry=TYPES)
def plain(payload):
    return payload


@pytest.fixture(autouse=True)
def _default_database(dsn, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", dsn)
    default_client.cache_clear()
    yield
    default_client().close()
    default_client.cache_clear()


def test_a_handler_is_called_as_the_function_it_was():
    assert thumbnail(Thumbnail(url="u"), None) == {"url": "u"}
    assert asyncio.run(letter(Letter("me"))) == "me"
    assert isinstance(plain, TaskHandler)


def test_a_handler_enqueues_dicts_models_and_dataclasses(client):
    for handler, payload, stored in (
        (thumbnail, {"url": "u"}, {"url": "u"}),
        (thumbnail, Thumbnail(url="u"), {"url": "u"}),
        (letter, Letter("me"), {"to": "me"}),
        (plain, {"any": [1]}, {"any": [1]}),
        (plain, None, {}),
    ):
        task = client.get(handler.enqueue(payload).id)
        assert (task.type, task.payload) == (handler.type, stored)


def test_a_handlers_task_has_the_handlers_options_and_those_of_the_call(client):
    task = client.get(thumbnail.enqueue({"url": "u"}, priority="high", unique_key="u1").id)
    assert (task.queue, task.max_attempts, task.timeout, task.priority, task.unique_key) == ("images", 3, 60.0, 2, "u1")


def test_a_payload_that_does_not_fit_is_refused_before_anything_is_stored(count):
    with pytest.raises(InvalidPayload, match="/url"):
        thumbnail.enqueue({"uri": "u"})
    with pytest.raises(InvalidPayload, match=r"^task 1: .*/to"):
        letter.enqueue_many([{"to": "me"}, {"to": 1}])
    assert count() == 0


def test_a_handler_enqueues_in_the_callers_transaction(dsn, count):
    import psycopg

    with psycopg.connect(dsn) as own:
        thumbnail.enqueue({"url": "u"}, connection=own)
        thumbnail.enqueue_many([{"url": "u"}, Thumbnail(url="v")], connection=own, priority="low")
        assert count() == 0
    assert count("queue = 'images'") == 3


def test_a_handler_enqueues_from_asyncio(client):
    enqueued = asyncio.run(letter.enqueue_async(Letter("me"), tags=["a"]))
    assert client.get(enqueued.id).tags == ["a"]


def test_many_event_loops_share_the_default_client():
    async def enqueue():
        return await asyncio.gather(*(plain.enqueue_async({"n": n}) for n in range(20)))

    assert len({enqueued.id for _ in range(3) for enqueued in asyncio.run(enqueue())}) == 60


def test_without_a_database_the_error_says_what_to_set(monkeypatch):
    monkeypatch.delenv("DATABASE_URL")
    default_client.cache_clear()
    with pytest.raises(SettingsError, match="DATABASE_URL: not set"):
        plain.enqueue({})


def test_a_forked_child_connects_anew_and_its_parent_goes_on(dsn, count):
    program = textwrap.dedent("""
        import os, sys, psycopg
        from taskflow import task

        SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskflow client' AND datname = %s"

        @task
        def plain(payload): ...

        plain.enqueue({})
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(writing)
            plain.enqueue({})
            with psycopg.connect(os.environ["DATABASE_URL"]) as own:
                assert own.execute(SESSIONS, [own.info.dbname]).fetchone() == (2,), "no session of its own"
            os.read(reading, 1)  # until the parent is done
            plain.enqueue({})
            sys.exit(0)
        plain.enqueue({})
        os.close(writing)
        assert os.waitpid(child, 0)[1] == 0
        plain.enqueue({})
    """)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert count() == 5
