"""`assert_enqueued` and `assert_not_enqueued`: what they find, and what they say where they find it not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from unittest.mock import ANY

import psycopg
import pytest
from pydantic import BaseModel
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from taskflow import Registry, task
from taskflow.testing import Harness


@pytest.fixture
def harness(dsn: str) -> Iterator[Harness]:
    with Harness(dsn, registry=Registry()) as made:
        yield made


class Letter(BaseModel):
    to: str
    copies: int = 1


def failure(harness: Harness, *arguments: object, **more: object) -> str:
    with pytest.raises(AssertionError) as caught:
        harness.assert_enqueued(*arguments, **more)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_part_of_the_payload_and_of_the_fields_is_enough(harness: Harness) -> None:
    @task("letter", queue="mail", registry=Registry())
    def letter(_: Letter) -> None: ...

    harness.client.enqueue(
        "letter", {"to": "a", "more": {"x": 1, "y": [1, 2]}}, queue="mail", metadata={"by": "me", "n": 1}
    )
    letter.enqueue(Letter(to="b"), priority="high", unique_key="k", tags=["t"])
    assert len(harness.assert_enqueued("letter")) == 2
    (first,) = harness.assert_enqueued("letter", {"more": {"y": [1, 2]}}, metadata={"by": "me"}, count=1)
    assert first.payload["to"] == "a"
    harness.assert_enqueued(letter, {"to": ANY}, queue="mail", count=2)
    harness.assert_enqueued(
        letter, Letter(to="b"), priority="high", unique_key="k", tags=["t"], state="pending", count=1
    )
    harness.assert_not_enqueued(letter, {"to": "c"})
    harness.assert_not_enqueued("echo")


def test_a_miss_says_how_the_tasks_differ_that_there_are(harness: Harness) -> None:
    assert "nothing was enqueued at all" in failure(harness, "letter")
    harness.client.enqueue("letter", {"to": {"name": "a"}, "copies": 2})
    harness.client.enqueue("letter", {"to": {}}, queue="mail")
    harness.client.enqueue("leter")
    assert failure(harness, "letter", {"to": {"name": "b"}}, queue="mail").split("\n") == [
        "no task 'letter' with payload {'to': {'name': 'b'}} and queue 'mail' was enqueued",
        "  task 2 in queue 'mail', pending: payload/to has no 'name'",
        "  task 1 in queue 'default', pending: payload/to/name is 'a', not 'b'; queue is 'default', not 'mail'",
        "  of other types: 1 x 'leter'",
    ]
    assert failure(harness, "lettre").endswith("2 x 'letter', 1 x 'leter' (did you mean 'letter'?)")


def test_a_wrong_number_shows_those_that_count(harness: Harness) -> None:
    for number in range(12):
        harness.client.enqueue("letter", {"n": number})
    message = failure(harness, "letter", count=3)
    assert message.startswith(
        "12 instead of 3 were enqueued of: task 'letter'\n  task 1 in queue 'default', pending: as expected"
    )
    assert message.endswith("and 2 more of this type")
    with pytest.raises(AssertionError, match=r"task 'letter' with payload \{'n': 3\} was enqueued:\n  task 4 in queue"):
        harness.assert_not_enqueued("letter", {"n": 3})


def test_what_is_not_committed_is_seen_with_its_connection_alone(harness: Harness, dsn: str) -> None:
    with psycopg.connect(dsn) as own:
        harness.client.enqueue("letter", connection=own)
        harness.assert_enqueued("letter", connection=own)
        assert "connection=" in failure(harness, "letter")
        own.rollback()
        harness.assert_not_enqueued("letter", connection=own)
    engine = create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        harness.client.enqueue("letter", connection=session)
        harness.assert_enqueued("letter", connection=session)
        session.rollback()
    engine.dispose()
    harness.assert_not_enqueued("letter")


def test_an_async_session_is_asked_through_its_synchronous_one(harness: Harness, dsn: str) -> None:
    async def enqueue_and_look() -> int:
        engine = create_async_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))
        async with AsyncSession(engine) as session:
            await session.run_sync(lambda own: harness.client.enqueue("letter", connection=own))
            found = await session.run_sync(lambda own: harness.assert_enqueued("letter", connection=own))
        await engine.dispose()
        return len(found)

    assert asyncio.run(enqueue_and_look()) == 1
    harness.assert_not_enqueued("letter")


def test_a_task_that_has_run_was_enqueued_too(harness: Harness, dsn: str) -> None:
    harness.client.enqueue("echo", {"a": 1})
    with Harness(dsn) as other:
        other.drain()
    harness.assert_enqueued("echo", {"a": 1}, state="completed", count=1)


def test_an_unknown_field_is_refused_with_those_there_are(harness: Harness) -> None:
    with pytest.raises(TypeError, match="not looked for by 'que': use queue, state, priority"):
        harness.assert_enqueued("letter", que="mail")  # type: ignore[call-arg]
