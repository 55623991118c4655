"""A `max_depth` of a queue's own holds back whoever inserts: by INSERT, by COPY, by the functions, by the client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from taskflow import Client, NewTask, QueueFull
from tests.store.support import Connection, claim, complete, insert, worker

DEPTH = "SELECT count(*) FROM taskflow.tasks_live WHERE queue = %s AND state IN ('pending', 'retrying')"


def limit(connection: Connection, most: int, queue: str = "default") -> None:
    connection.execute(
        "INSERT INTO taskflow.queues (name, max_depth) VALUES (%(queue)s, %(most)s)"
        " ON CONFLICT (name) DO UPDATE SET max_depth = %(most)s",
        {"queue": queue, "most": most},
    )


def depth(connection: Connection, queue: str = "default") -> int:
    row = connection.execute(DEPTH, [queue]).fetchone()
    assert row is not None
    return int(row[0])


def refused(action: Callable[[], Any]) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        action()
    assert caught.value.sqlstate == "TF503"
    return caught.value


def copy(connection: Connection, count: int) -> None:
    with connection.cursor().copy("COPY taskflow.tasks (type) FROM STDIN") as rows:
        for _ in range(count):
            rows.write_row(["noop"])


WAYS: dict[str, Callable[[Connection], Any]] = {
    "insert": insert,
    "copy": lambda connection: copy(connection, 1),
    "enqueue": lambda connection: connection.execute("SELECT taskflow.enqueue('noop')"),
    "enqueue with options": lambda connection: connection.execute(
        """SELECT taskflow.enqueue('noop', unique_key => 'u', options => '{"tags": ["a"]}')"""
    ),
    "enqueue_many": lambda connection: connection.execute("""SELECT taskflow.enqueue_many('[{"type": "noop"}]')"""),
}


@pytest.mark.parametrize("way", WAYS)
def test_whoever_inserts_into_a_full_queue_is_refused(connection: Connection, way: str) -> None:
    limit(connection, 3)
    insert(connection, 2)
    WAYS[way](connection)
    error = refused(lambda: WAYS[way](connection) if way != "enqueue with options" else insert(connection))
    assert error.diag.message_primary == 'the queue "default" is full: as many tasks wait as its max_depth allows, 3'
    assert error.diag.message_hint == "try again when workers have taken some, or raise its max_depth"
    assert depth(connection) == 3
    insert(connection, 5, queue="other")  # has the default, and no limit for SQL

    me = worker(connection)
    complete(connection, me, claim(connection, me))  # makes room
    insert(connection, 3)
    assert depth(connection) == 3


def test_one_statement_that_brings_more_than_there_is_room_for_is_refused_as_a_whole(connection: Connection) -> None:
    limit(connection, 10)
    refused(lambda: insert(connection, 11))
    refused(lambda: copy(connection, 11))
    assert depth(connection) == 0
    insert(connection, 4)
    refused(lambda: insert(connection, 7))
    insert(connection, 6)
    refused(lambda: insert(connection))
    assert depth(connection) == 10


def test_a_limit_that_takes_long_to_count_is_for_the_api_alone(connection: Connection) -> None:
    limit(connection, 10_000)
    refused(lambda: insert(connection, 10_001))
    insert(connection, 10_000)
    refused(lambda: insert(connection))
    limit(connection, 10_001)
    insert(connection, 2)


def test_what_does_not_wait_or_was_there_before_does_not_count(connection: Connection) -> None:
    limit(connection, 2)
    insert(connection, 2)
    me = worker(connection)
    claim(connection, me)
    insert(connection, 2, run_at="2099-01-01T00:00:00Z")
    refused(lambda: insert(connection))
    connection.execute("UPDATE taskflow.queues SET max_depth = 3")  # in effect at once, in either direction
    insert(connection)
    connection.execute("UPDATE taskflow.queues SET max_depth = 1")
    refused(lambda: insert(connection))
    connection.execute(
        "INSERT INTO taskflow.tasks (type, state, finished_at) VALUES ('noop', 'cancelled', now())"
    )  # of an import: it takes no room
    connection.execute("UPDATE taskflow.queues SET max_depth = DEFAULT")
    insert(connection, 20)


def test_a_key_that_is_taken_needs_no_room(connection: Connection) -> None:
    limit(connection, 1)
    statement = "SELECT id, created FROM taskflow.enqueue('noop', unique_key => 'u')"
    first = connection.execute(statement).fetchone()
    assert first is not None
    assert connection.execute(statement).fetchone() == (first[0], False)


@pytest.mark.parametrize("off", ["off", "'OFF'", "false", "0"])
def test_a_producer_that_must_not_be_refused_can_say_so(connection: Connection, off: str) -> None:
    limit(connection, 1)
    insert(connection)
    with connection.transaction():
        connection.execute(f"SET LOCAL taskflow.max_depth = {off}")
        insert(connection, 5)
    refused(lambda: insert(connection))


def test_only_the_queues_that_are_full_refuse(connection: Connection) -> None:
    limit(connection, 1, "a")
    limit(connection, 2, "b")
    statement = "INSERT INTO taskflow.tasks (type, queue) SELECT 'noop', unnest(%s::text[])"
    connection.execute(statement, [["a", "b", "b", "c"]])
    assert 'queue "b"' in str(refused(lambda: connection.execute(statement, [["b", "c"]])))
    assert [depth(connection, queue) for queue in "abc"] == [1, 2, 1]


def test_an_open_transaction_holds_up_nobody(connection: Connection, dsn: str) -> None:
    limit(connection, 1_500)
    with psycopg.connect(dsn) as other, psycopg.connect(dsn) as third:
        insert(other)  # and does not commit
        third.execute("SET lock_timeout = '1s'")
        insert(third, 1_400)
        refused(lambda: insert(third, 101))
        third.rollback()
        connection.execute("SET lock_timeout = '1s'")
        limit(connection, 1_400)
        insert(connection, 1_400)  # what is not committed does not count yet
        refused(lambda: insert(connection))
    connection.execute("RESET lock_timeout")


@pytest.mark.parametrize("isolation", [2, 3, 4])
def test_producers_side_by_side_do_not_wait_and_do_not_fail(connection: Connection, dsn: str, isolation: int) -> None:
    """Whatever their isolation: nobody's INSERT may fail because of what somebody else counts or inserts."""
    limit(connection, 1_001)
    failures: list[BaseException] = []

    def produce() -> None:
        try:
            with psycopg.connect(dsn) as mine:
                mine.isolation_level = psycopg.IsolationLevel(isolation)
                for _ in range(40):
                    mine.execute("SELECT")  # the snapshot of the stricter ones
                    insert(mine)
                    mine.commit()
        except psycopg.Error as error:
            failures.append(error)

    threads = [threading.Thread(target=produce) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert depth(connection) == 160


def test_the_client_says_what_it_is(connection: Connection, dsn: str) -> None:
    limit(connection, 2)
    with Client(dsn) as client:
        client.enqueue_many([NewTask("noop"), NewTask("noop")])
        with pytest.raises(QueueFull, match=r"max_depth allows, 2 \(try again when workers have taken some"):
            client.enqueue("noop")
        with pytest.raises(QueueFull):
            client.copy([NewTask("noop")])
    assert depth(connection) == 2


def test_a_schedule_fires_into_a_full_queue_too(connection: Connection) -> None:
    limit(connection, 1)
    insert(connection)
    connection.execute(
        "INSERT INTO taskflow.schedules (name, type, cron, timezone, next_run_at)"
        " VALUES ('nightly', 'noop', '0 3 * * *', 'UTC', now())"
    )
    row = connection.execute(
        "SELECT f.fired FROM taskflow.schedules s, taskflow.fire_schedules(ARRAY[s.id], ARRAY[s.version],"
        " ARRAY[s.run_count], ARRAY[s.next_run_at], ARRAY[now() + interval '1 day'], ARRAY[s.id],"
        " ARRAY[s.next_run_at], ARRAY[s.next_run_at]) f"
    ).fetchone()
    assert row == (1,)
    assert depth(connection) == 2


@pytest.mark.parametrize("role", ["taskflow_producer", "taskflow_worker", "taskflow_server"])
def test_the_roles_that_create_tasks_are_refused_and_lack_no_right(connection: Connection, role: str) -> None:
    limit(connection, 1)
    connection.execute(f"SET ROLE {role}")
    insert(connection)
    for way in WAYS.values():
        refused(lambda way=way: way(connection))
    connection.execute("RESET ROLE")
    assert depth(connection) == 1
