"""A unique key that stays taken for a while, whatever becomes of its task."""

from __future__ import annotations

import json
import threading
from typing import Any

import psycopg
import pytest

from taskflow.store.connection import repeat_on_conflict
from taskflow.store.expiry import expire_rows
from tests.store.support import Connection, claim, complete, worker


def enqueue(connection: Connection, key: str | None = "k", **options: Any) -> tuple[int, bool, str]:
    found = connection.execute(
        "SELECT id, created, state FROM taskflow.enqueue('noop', unique_key => %s, options => %s)",
        [key, json.dumps(options)],
    ).fetchone()
    assert found is not None
    return found[0], found[1], found[2]


def end_all(connection: Connection) -> None:
    me = worker(connection)
    complete(connection, me, claim(connection, me))


def test_the_key_stays_taken_when_its_task_has_ended(connection: Connection) -> None:
    first, created, state = enqueue(connection, unique_for=60)
    assert (created, state) == (True, "pending")
    assert enqueue(connection, unique_for=60) == (first, False, "pending")
    end_all(connection)
    for options in ({"unique_for": 60}, {}, {"on_conflict": "replace", "unique_for": 5}):
        assert enqueue(connection, **options) == (first, False, "completed")
    with pytest.raises(psycopg.Error) as refused:
        enqueue(connection, on_conflict="error")
    assert (refused.value.sqlstate, refused.value.diag.message_detail) == ("TF410", str(first))
    assert enqueue(connection, "another", unique_for=60)[1]
    many = json.dumps([{"type": "noop", "unique_key": "k"}, {"type": "noop", "unique_key": "n", "unique_for": 9}])
    rows = connection.execute("SELECT id, created FROM taskflow.enqueue_many(%s) ORDER BY index", [many]).fetchall()
    assert [(rows[0][0], rows[0][1]), rows[1][1]] == [(first, False), True]


def test_it_is_free_when_the_time_is_over_or_the_task_was_removed(connection: Connection) -> None:
    first, *_ = enqueue(connection, unique_for=60)
    end_all(connection)
    connection.execute("UPDATE taskflow.unique_windows SET until = now()")
    second, created, _ = enqueue(connection, unique_for=60)
    assert created
    end_all(connection)
    assert enqueue(connection)[0] == second
    connection.execute("SELECT taskflow.remove_task(%s)", [second])
    third, created, _ = enqueue(connection, unique_for=60)
    assert created
    assert len({first, second, third}) == 3
    assert connection.execute("SELECT task_id FROM taskflow.unique_windows").fetchall() == [(third,)]


def test_a_live_task_without_such_a_time_keeps_its_key_and_starts_none(connection: Connection) -> None:
    first, *_ = enqueue(connection)
    assert enqueue(connection, unique_for=60) == (first, False, "pending")
    end_all(connection)
    assert enqueue(connection)[1]


def test_many_at_once_make_one(connection: Connection, dsn: str) -> None:
    ids: list[int] = []

    def work() -> None:
        with psycopg.connect(dsn, autocommit=True) as own:
            me = worker(own)
            for number in range(40):
                ids.append(enqueue(own, f"key {number}", unique_for=60)[0])
                claimed = repeat_on_conflict(lambda: claim(own, me, 1))
                repeat_on_conflict(lambda: complete(own, me, claimed))  # noqa: B023

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids) == 160
    assert len(set(ids)) == 40
    assert connection.execute("SELECT count(*) FROM taskflow.tasks").fetchone() == (40,)


def test_one_that_is_rolled_back_leaves_nothing(connection: Connection, dsn: str) -> None:
    with psycopg.connect(dsn) as other:
        enqueue(other, unique_for=60)
        other.rollback()
    assert enqueue(connection, unique_for=60)[1]


@pytest.mark.parametrize("value", [-1, 3_155_760_001, "60", []])
def test_what_is_no_time_is_refused(connection: Connection, value: object) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unique_for"):
        enqueue(connection, unique_for=value)


def test_without_a_key_it_is_refused(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="unique_for needs a unique_key"):
        enqueue(connection, None, unique_for=60)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="task 1: unique_for needs a unique_key"):
        connection.execute("""SELECT taskflow.enqueue_many('[{"type": "a"}, {"type": "a", "unique_for": 3}]')""")


def test_what_is_over_is_removed(connection: Connection) -> None:
    for number in range(3):
        enqueue(connection, str(number), unique_for=60 * number)
    assert not expire_rows(connection)  # fewer than a batch
    assert connection.execute("SELECT count(*) FROM taskflow.unique_windows").fetchone() == (2,)
