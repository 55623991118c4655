"""Numbers and speed over HTTP: right, also for keys that are limited, and never read from history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient

from taskflow.leader.endings import Endings
from taskflow.leader.statistics import Statistics
from taskflow.tasks.durations import DURATION_BOUNDS, percentile
from taskflow.web.reporting import figures
from tests.web.conftest import Engine
from tests.web.limited import limited_to

Connection = psycopg.Connection[Any]
EMPTY = {
    "pending_count": 0,
    "scheduled_count": 0,
    "blocked_count": 0,
    "running_count": 0,
    "retrying_count": 0,
    "completed_count": 0,
    "failed_count": 0,
    "cancelled_count": 0,
    "dead_letter_count": 0,
}


def lead(connection: Connection) -> None:
    """What the leader does about every ten seconds, here in one round however slow the machine is."""
    Statistics(clock=lambda: 0.0).work(connection)
    Endings(clock=lambda: 0.0).work(connection)


def task(connection: Connection, **columns: Any) -> int:
    columns = {"type": "echo", **columns}
    row = connection.execute(
        f"INSERT INTO taskflow.tasks ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) RETURNING id",
        tuple(columns.values()),
    ).fetchone()
    assert row is not None
    return int(row[0])


def one_of_each(connection: Connection, engine: Engine, queue: str = "default") -> None:
    """A task in every state."""
    connection.execute(
        "INSERT INTO taskflow.queues (name, dead_letter) VALUES ('failing', false) ON CONFLICT DO NOTHING"
    )
    for kind in ("succeeded", "dead"):
        task(connection, queue=queue, type=kind, max_attempts=1)
        engine.finish(engine.claim(kind, queue), "succeeded" if kind == "succeeded" else "failed", error="boom")
    task(connection, queue=queue, type="again")
    engine.finish(engine.claim("again", queue), "failed", error="boom", retry_after=1000)
    task(connection, queue="failing", type="fails", max_attempts=1)
    engine.finish(engine.claim("fails", "failing"), "failed", error="boom")
    task(connection, queue=queue, type="runs")
    engine.claim("runs", queue)
    connection.execute("SELECT taskflow.cancel(%s)", [task(connection, queue=queue)])
    task(connection, queue=queue, run_at="2100-01-01T00:00:00Z")
    task(connection, queue=queue, type="due")
    blocked = task(connection, queue=queue, concurrency_key="k")
    connection.execute("UPDATE taskflow.tasks SET state = 'blocked', key_state = 'blocked' WHERE id = %s", [blocked])
    due_again = task(connection, queue=queue)
    connection.execute("UPDATE taskflow.tasks SET state = 'retrying' WHERE id = %s", [due_again])


class TestStats:
    def test_every_state_is_counted_as_people_see_it(
        self, client: FlaskClient, connection: Connection, engine: Engine
    ) -> None:
        one_of_each(connection, engine)
        lead(connection)

        found = client.get("/api/v1/stats").json

        assert {name: found[name] for name in found if name not in ("latency", "throughput_per_minute")} == {
            "total": 10,
            "pending": 2,  # one of which is due again
            "scheduled": 1,
            "blocked": 1,
            "running": 1,
            "processing": 1,
            "retrying": 1,
            "completed": 1,
            "failed": 1,
            "dead_letter": 1,
            "cancelled": 1,
        }

    def test_what_lives_is_exact_at_every_moment(
        self, client: FlaskClient, connection: Connection, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(figures, "QUICK_SECONDS", 5.0)  # also on a machine that is busy with something else
        for number in range(1, 4):
            client.post("/api/v1/tasks", json={"type": "echo"})
            assert client.get("/api/v1/stats").json["pending"] == number
        engine.claim()
        assert [client.get("/api/v1/stats").json[state] for state in ("pending", "running")] == [2, 1]

    def test_speed_is_that_of_the_last_minutes_and_latency_that_of_attempts(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        connection.execute(
            "INSERT INTO taskflow.executions (task_id, started_at, finished_at, attempt, outcome, queue, type)"
            " SELECT i, now() - interval '0.15 s', now(), 1, 'succeeded'::taskflow.execution_outcome, 'default', 'x'"
            " FROM generate_series(1, 95) i"
            " UNION ALL SELECT i, now() - interval '7 s', now(), 1, 'succeeded', 'default', 'y'"
            " FROM generate_series(96, 100) i"
            " UNION ALL SELECT i, now() - interval '50 s', now(), 1, 'failed', 'default', 'y'"
            " FROM generate_series(101, 200) i"
        )
        lead(connection)

        found = client.get("/api/v1/stats").json

        assert found["throughput_per_minute"] == 20
        assert 0.1 <= found["latency"]["p50"] <= 0.2
        assert 0.1 <= found["latency"]["p95"] <= 0.2
        assert 5 <= found["latency"]["p99"] <= 10

    def test_nothing_at_all_is_zeros_and_no_latency(self, client: FlaskClient) -> None:
        found = client.get("/api/v1/stats").json

        assert (found["total"], found["throughput_per_minute"]) == (0, 0)
        assert found["latency"] == {"p50": None, "p95": None, "p99": None}


class TestQueueStats:
    def test_a_queue_is_told_of_alone(self, client: FlaskClient, connection: Connection, engine: Engine) -> None:
        one_of_each(connection, engine, "mail")
        task(connection, queue="other")
        lead(connection)

        found = client.get("/api/v1/queues/mail/stats").json

        assert {name: found[name] for name in EMPTY} == {
            **dict.fromkeys(EMPTY, 1),
            "pending_count": 2,
            "failed_count": 0,
        }
        assert found["queue_name"] == "mail"
        assert found["throughput_per_minute"] == 0.2
        assert found["last_task_at"] is not None
        assert 0 <= found["avg_processing_time"] < 60

    def test_an_empty_queue_has_zeros(self, client: FlaskClient) -> None:
        found = client.get("/api/v1/queues/default/stats").json

        assert {name: found[name] for name in EMPTY} == EMPTY
        assert (found["oldest_pending_seconds"], found["p50"], found["last_task_at"]) == (None, None, None)

    def test_the_oldest_is_the_one_that_has_been_due_for_longest(
        self, client: FlaskClient, connection: Connection
    ) -> None:
        connection.execute(
            "INSERT INTO taskflow.tasks (type, priority, run_at) VALUES ('echo', 3, now() - interval '10 s'),"
            " ('echo', 0, now() - interval '100 s'), ('echo', 1, now() + interval '1 hour')"
        )

        assert 100 <= client.get("/api/v1/queues/default/stats").json["oldest_pending_seconds"] < 130

    def test_workers_are_those_that_live_and_serve_the_queue(self, client: FlaskClient, connection: Connection) -> None:
        connection.execute(
            "INSERT INTO taskflow.workers (hostname, pid, types, concurrency, version, queues, last_heartbeat) VALUES"
            " ('a', 1, '{}', 1, '1', NULL, now()), ('b', 1, '{}', 1, '1', '{default,x}', now()),"
            " ('c', 1, '{}', 1, '1', '{x}', now()), ('d', 1, '{}', 1, '1', NULL, now() - interval '10 min')"
        )

        assert client.get("/api/v1/queues/default/stats").json["active_workers"] == 2


class TestMetrics:
    def test_every_queue_and_the_schedules(self, client: FlaskClient, connection: Connection) -> None:
        task(connection, queue="fresh")
        connection.execute(
            "INSERT INTO taskflow.schedules (name, type, interval, enabled, run_count) VALUES"
            " ('a', 'echo', 60, true, 3), ('b', 'echo', 60, false, 4)"
        )

        found = client.get("/api/v1/metrics").json

        assert set(found["queue_stats"]) == {"default", "fresh"}
        assert found["queue_stats"]["fresh"]["pending_count"] == 1
        assert found["schedule_stats"] == {
            "total_schedules": 2,
            "enabled_schedules": 1,
            "disabled_schedules": 1,
            "total_runs": 7,
        }


def test_a_limited_key_is_told_of_its_queues_alone(
    make_app: Callable[..., Flask], connection: Connection, engine: Engine
) -> None:
    one_of_each(connection, engine, "mine")
    one_of_each(connection, engine, "other")
    connection.execute("INSERT INTO taskflow.schedules (name, type, interval, queue) VALUES ('a', 'x', 60, 'other')")
    lead(connection)
    connection.execute("SELECT taskflow.adopt_queues()")
    client = limited_to(make_app, connection, "mine")

    assert client.get("/api/v1/stats").json["total"] == 9
    metrics = client.get("/api/v1/metrics").json
    assert (set(metrics["queue_stats"]), metrics["schedule_stats"]["total_schedules"]) == ({"mine"}, 0)


def test_counting_that_takes_long_serves_all_for_a_while(
    make_app: Callable[..., Flask], connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "QUICK_SECONDS", -1.0)
    monkeypatch.setattr(figures, "REST", 1e9)
    client = make_app().test_client()
    client.get("/api/v1/stats")
    task(connection)

    assert client.get("/api/v1/stats").json["pending"] == 0


def test_the_bounds_of_durations_are_those_of_the_database(connection: Connection) -> None:
    assert connection.execute("SELECT taskflow.duration_bounds()").fetchone() == (list(DURATION_BOUNDS),)


@pytest.mark.parametrize(
    ("buckets", "fraction", "expected"),
    [([10] + [0] * 22, 0.5, 0.0005), ([0] * 22 + [4], 0.99, 10000.0), ([5, 5] + [0] * 21, 0.75, 0.0015)],
)
def test_a_percentile_lies_within_its_bucket(buckets: list[int], fraction: float, expected: float) -> None:
    assert percentile(buckets, fraction) == pytest.approx(expected)


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile([0] * 23, 0.5) is None
    assert percentile([], 0.5) is None


@pytest.mark.parametrize("statement", ["live_counts()", "ended_counts()", "live_counts('{default}')"])
def test_no_figure_reads_history(connection: Connection, statement: str) -> None:
    connection.execute(
        "INSERT INTO taskflow.tasks (type, state, finished_at)"
        " SELECT 't', 'completed', now() FROM generate_series(1, 500)"
    )
    name = statement.partition("(")[0]
    row = connection.execute("SELECT prosrc FROM pg_proc WHERE proname = %s", [name]).fetchone()
    assert row is not None
    body = row[0].partition("RETURN QUERY")[2].rpartition("\nEND")[0].strip().rstrip(";")
    argument = "'{default}'::text[]" if "default" in statement else "NULL::text[]"

    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {body.replace('p_queues', argument)}".encode()))

    for table in ("tasks_completed", "tasks_ended", "executions"):
        assert table not in plan
