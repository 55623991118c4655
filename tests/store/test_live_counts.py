"""Figures of what lives and of what waits: counted by indexes, and the same as counted one by one."""

from __future__ import annotations

import random

import pytest

from tests.store.support import Connection, claim, complete, insert, worker

PLAIN = """
    SELECT queue::text, priority, taskflow.shown_state(state, run_at), count(*),
           min(run_at) FILTER (WHERE state IN ('pending', 'retrying') AND run_at <= statement_timestamp())
    FROM taskflow.tasks_live GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""


@pytest.fixture
def me(connection: Connection) -> int:
    return worker(connection)


def test_figures_of_what_lives_are_those_of_a_plain_count(connection: Connection, me: int) -> None:
    """After a random history of every kind of change, beside what other queues hold."""
    chance = random.Random(7)
    for _ in range(60):
        queue, priority = chance.choice(["a", "b"]), chance.choice([0, 1, 3])
        kind = chance.randrange(6)
        if kind < 2:
            more = {} if kind else {"concurrency_key": chance.choice(["k", "l"])}
            insert(connection, chance.randrange(1, 5), queue=queue, priority=priority, **more)
        elif kind == 2:
            insert(connection, 1, queue=queue, priority=priority, run_at="2100-01-01")
        else:
            claimed = claim(connection, me, chance.randrange(1, 4), queues=(queue,))
            if kind == 3:
                complete(connection, me, claimed)
            elif kind == 4:
                complete(connection, me, claimed, "failed", details=chance.choice(['{"retry_after": 900}', None]))
    plain = connection.execute(PLAIN).fetchall()
    assert {"pending", "scheduled", "retrying", "running", "blocked"} == {found[2] for found in plain}
    counted = "SELECT * FROM taskflow.live_counts({}) ORDER BY queue, priority, state"
    assert connection.execute(counted.format("")).fetchall() == plain
    assert connection.execute(counted.format("'{a}'")).fetchall() == [found for found in plain if found[0] == "a"]

    (ahead,) = (task.id for task in claim(connection, me, 1, queues=("b",)))  # as after a clock that was set back
    connection.execute("UPDATE taskflow.tasks SET run_at = '2100-01-01' WHERE id = %s", [ahead])
    plain = connection.execute(PLAIN).fetchall()
    assert connection.execute(counted.format("")).fetchall() == plain

    waiting = {
        queue: sum(found[3] for found in plain if found[0] == queue and found[2] not in ("running", "blocked"))
        for queue in ("a", "b")
    }
    connection.execute("INSERT INTO taskflow.queues (name, max_depth) VALUES ('a', 1000), ('b', 5), ('empty', 7)")
    expected = {("a", 1000, waiting["a"]), ("b", 5, min(5, waiting["b"])), ("empty", 7, 0)}
    assert set(connection.execute("SELECT * FROM taskflow.queue_depths()")) == expected
    below = set(connection.execute("SELECT * FROM taskflow.queue_depths_below(800)"))
    assert below >= {("a", 800, waiting["a"]), ("b", 5, min(5, waiting["b"])), ("empty", 7, 0)}
