"""Who is woken, and who is spared: the gate in front of NOTIFY."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from taskflow.store import bells
from tests.store.support import Connection, claim, complete, insert, worker


@pytest.fixture
def sleeper(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        bells.listen(connection)
        yield connection


def heard(sleeper: Connection) -> list[tuple[str, str]]:
    """What has arrived; everything committed before has, since the server sends it with the answer to a statement."""
    received: list[tuple[str, str]] = []
    sleeper.execute("SELECT 1")
    received += [(notify.channel, notify.payload) for notify in sleeper.notifies(timeout=0.05)]
    return received


def test_an_insert_wakes_the_holder_of_the_queues_bell(connection: Connection, sleeper: Connection) -> None:
    assert bells.take(sleeper, ["default"]) == (["default"], [], [])
    insert(connection)
    assert heard(sleeper) == [("taskflow_wake", "default")]


def test_an_insert_wakes_who_serves_every_queue(connection: Connection, sleeper: Connection) -> None:
    bells.take(sleeper, [bells.EVERY_QUEUE])
    insert(connection, queue="never-seen-before")
    assert heard(sleeper) == [("taskflow_wake", "never-seen-before")]


def test_nobody_asleep_means_no_notification(connection: Connection, sleeper: Connection) -> None:
    insert(connection)
    bells.take(sleeper, ["other"])
    insert(connection)
    assert heard(sleeper) == []


def test_notify_off_keeps_silent(connection: Connection, sleeper: Connection) -> None:
    bells.take(sleeper, ["default"])
    with connection.transaction():
        connection.execute("SET LOCAL taskflow.notify = off")
        insert(connection)
    assert heard(sleeper) == []


def test_a_prepared_transaction_may_insert_when_it_keeps_silent(connection: Connection, sleeper: Connection) -> None:
    bells.take(sleeper, ["default"])
    connection.execute("BEGIN")
    connection.execute("SET LOCAL taskflow.notify = off")
    insert(connection)
    connection.execute("PREPARE TRANSACTION 'two-phase'")
    connection.execute("COMMIT PREPARED 'two-phase'")
    assert len(claim(connection, worker(connection))) == 1


def test_the_bell_is_refused_while_a_silent_inserter_is_open(connection: Connection, sleeper: Connection) -> None:
    with connection.transaction():
        insert(connection)
        assert bells.take(sleeper, ["default"]) == ([], [], ["default"])
    assert bells.take(sleeper, ["default"]) == (["default"], [], [])


def test_a_bell_has_one_holder_and_giving_it_up_tells_the_others(sleeper: Connection, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as second:
        bells.listen(second)
        bells.take(sleeper, ["default"])
        assert bells.take(second, ["default"]) == ([], ["default"], [])
        bells.give(sleeper, ["default"])
        assert heard(second) == [("taskflow_bell", "default")]
        assert bells.take(second, ["default"]) == (["default"], [], [])


def test_asking_for_a_bell_in_vain_leaves_no_lock_behind(connection: Connection, sleeper: Connection) -> None:
    with connection.transaction():
        insert(connection)
        bells.take(sleeper, ["default"])
    held = sleeper.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    ).fetchone()
    assert held == (0,)


@pytest.mark.parametrize("what", ["retry", "release", "rescue", "failure", "replace"])
def test_everything_that_makes_a_task_claimable_rings(connection: Connection, sleeper: Connection, what: str) -> None:
    (task_id,) = insert(connection, unique_key="u")
    me = worker(connection)
    if what != "replace":
        claimed = claim(connection, me)
    bells.take(sleeper, ["default"])
    if what == "retry":
        complete(connection, me, claimed)
        connection.execute("SELECT taskflow.retry_task(%s)", (task_id,))
    elif what == "release":
        connection.execute("SELECT taskflow.release_tasks(%s, %s, '{1}')", (me, [task_id]))
    elif what == "rescue":
        connection.execute("SELECT taskflow.rescue_tasks(%s, 0)", (me,))
    elif what == "failure":
        complete(connection, me, claimed, "failed", details='{"error": "x", "retry_after": 0}')
    else:
        connection.execute(
            "SELECT taskflow.enqueue('noop', unique_key => 'u', options => '{\"on_conflict\": \"replace\"}')"
        )
    assert heard(sleeper) == [("taskflow_wake", "default")]


def test_an_insert_into_many_queues_rings_each_once(connection: Connection, sleeper: Connection) -> None:
    bells.take(sleeper, ["a", "b"])
    connection.execute(
        "INSERT INTO taskflow.tasks (type, queue) "
        "SELECT 'noop', (ARRAY['a', 'b', 'c'])[1 + n % 3] FROM generate_series(1, 99) n"
    )
    assert sorted(heard(sleeper)) == [("taskflow_wake", "a"), ("taskflow_wake", "b")]
