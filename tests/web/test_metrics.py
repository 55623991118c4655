"""/metrics: what Prometheus is told, from one statement over what lives."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import event

from taskflow.cli.metrics_port import ProcessFigures
from taskflow.errors import DatabaseUnavailable
from taskflow.web.access import keys
from taskflow.web.reporting import gauges
from taskflow.web.services import EXTENSION
from taskflow.worker.metrics import WorkerMetrics
from tests.debian import debian_program
from tests.web.conftest import Engine
from tests.web.limited import limited_to

ROOT = Path(__file__).resolve().parents[2]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(client: FlaskClient) -> Samples:
    response = client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"taskflow_{name}", frozenset(labels.items())))


def test_the_depth_of_every_queue_by_state_and_priority(
    client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine
) -> None:
    connection.execute(
        "SELECT taskflow.enqueue('echo', '{}', priority => 2), taskflow.enqueue('echo', '{}'),"
        " taskflow.enqueue('echo', '{}', run_at => now() + interval '1 hour'),"
        " taskflow.enqueue('echo', '{}', queue => 'q')"
    )
    engine.claim()

    samples = scrape(client)

    assert value(samples, "queue_depth", queue="default", state="running", priority="high") == 1
    assert value(samples, "queue_depth", queue="default", state="pending", priority="normal") == 1
    assert value(samples, "queue_depth", queue="default", state="scheduled", priority="normal") == 1
    assert value(samples, "queue_depth", queue="q", state="pending", priority="normal") == 1


def test_the_oldest_due_task_of_a_queue(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "SELECT taskflow.enqueue('echo', '{}', run_at => now() - interval '100 s'), taskflow.enqueue('echo', '{}'),"
        " taskflow.enqueue('echo', '{}', queue => 'later', run_at => now() + interval '1 hour')"
    )

    samples = scrape(client)

    assert 100 <= (value(samples, "queue_oldest_task_age_seconds", queue="default") or 0) < 200
    assert value(samples, "queue_oldest_task_age_seconds", queue="later") is None


def test_workers_dead_letters_queues_transactions_and_uptime(
    client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine, dsn: str
) -> None:
    connection.execute("SELECT taskflow.enqueue('echo', '{}')")
    engine.run("failed", final=True, error="boom")
    connection.execute(
        "INSERT INTO taskflow.workers (hostname, pid, types, concurrency, version, last_heartbeat) VALUES"
        " ('a', 1, '{}', 1, '1', now()), ('b', 1, '{}', 1, '1', now() - interval '10 min')"
    )
    connection.execute("INSERT INTO taskflow.queues (name, paused) VALUES ('stopped', true)")
    with psycopg.connect(dsn) as open_transaction:
        open_transaction.execute("SELECT 1")
        samples = scrape(client)

    assert value(samples, "workers_active") == 1
    assert value(samples, "dlq_size") == 1
    assert (value(samples, "queue_paused", queue="stopped"), value(samples, "queue_paused", queue="default")) == (1, 0)
    assert (value(samples, "schedules_enabled"), value(samples, "database_up")) == (0, 1)
    assert (value(samples, "oldest_transaction_age_seconds") or 0) > 0
    assert (value(samples, "uptime_seconds") or 0) > 0


def test_requests_are_counted_by_route_and_never_by_path(client: FlaskClient) -> None:
    for path in ("/api/v1/tasks/1", "/api/v1/tasks/2", "/nothing/1", "/nothing/2"):
        client.get(path)
    client.open("/live", method="INVENTED")

    samples = scrape(client)

    durations = "http_request_duration_seconds_count"
    assert value(samples, durations, method="GET", route="/api/v1/tasks/<task_id>", status="404") == 2
    assert value(samples, durations, method="GET", route="other", status="404") == 2
    assert value(samples, "http_requests_total", method="GET", status="404") == 4
    assert not any("INVENTED" in dict(labels).values() for _, labels in samples)


def test_one_statement_that_is_kept_for_some_seconds(app: Flask) -> None:
    statements: list[str] = []
    event.listen(
        app.extensions[EXTENSION].database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )

    for _ in range(3):
        scrape(app.test_client())

    assert len(statements) == 1


def test_what_has_happened_to_tasks_is_counted_by_queue_and_type(
    client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine
) -> None:
    connection.execute("SELECT taskflow.enqueue('echo', '{}') FROM generate_series(1, 4)")
    engine.run()
    engine.run("failed", error="boom")
    engine.run("failed", final=True, error="boom")
    for _ in range(2):
        connection.execute("SELECT taskflow.count_created()")
    connection.execute("SELECT taskflow.roll_up_minutes(now() - interval '2 min', now() + interval '1 min')")

    samples = scrape(client)

    labels = {"queue": "default", "type": "echo"}
    assert value(samples, "tasks_created_total", **labels) == 4
    assert value(samples, "tasks_completed_total", **labels) == 1
    assert value(samples, "attempts_failed_total", **labels) == 2
    assert value(samples, "attempts_retried_total", **labels) == 1
    assert value(samples, "tasks_dead_lettered_total", **labels) == 1
    assert value(samples, "tasks_rescued_total", **labels) == 0


def test_a_counter_never_falls_though_what_it_counted_was_removed(
    client: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gauges, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "REST_FACTOR", 0.0)
    connection.execute("INSERT INTO taskflow.task_totals (queue, type, completed) VALUES ('q', 't', 5)")
    assert value(scrape(client), "tasks_completed_total", queue="q", type="t") == 5

    connection.execute("UPDATE taskflow.task_totals SET completed = 3")

    assert value(scrape(client), "tasks_completed_total", queue="q", type="t") == 5


def test_whether_anybody_leads(client: FlaskClient, connection: psycopg.Connection[Any]) -> None:
    connection.execute("SELECT taskflow.acquire_lease('leader', 'somebody', 30)")

    assert value(scrape(client), "is_leader") == 1


def test_every_figure_is_documented_and_what_is_documented_is_there(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("SELECT taskflow.enqueue('echo', '{}')")
    client.get("/live")
    section = (ROOT / "docs" / "observability.md").read_text().partition("## Metrics")[2].partition("\n### ")[0]
    of_servers, of_workers = section.split("**From every worker")

    served = names_of(text_string_to_metric_families(client.get("/metrics").text))
    counted = names_of([*WorkerMetrics().collect(), *ProcessFigures(None).collect()])

    assert documented(of_servers) == served
    assert documented(of_workers) == counted | {"worker_slots", "worker_slots_busy"}  # of a worker that runs


def names_of(families: Iterable[Metric]) -> set[str]:
    found = {f.name.removeprefix("taskflow_") + ("_total" if f.type == "counter" else "") for f in families}
    return {name for name in found if not name.endswith("_created")}  # when one of the others began


def documented(text: str) -> set[str]:
    """The names in the first column of the tables."""
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_promtool_has_no_complaint(client: FlaskClient, connection: psycopg.Connection[Any], engine: Engine) -> None:
    connection.execute("SELECT taskflow.enqueue('echo', '{}') FROM generate_series(1, 2)")
    connection.execute("INSERT INTO taskflow.task_totals (queue, type, completed) VALUES ('q', 't', 5)")
    engine.run()

    text = client.get("/metrics").text
    promtool = debian_program("promtool", "prometheus")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_no_partition_of_history_is_read(connection: psycopg.Connection[Any]) -> None:
    statement = str(gauges.SELECT_GAUGES).replace(":heartbeat_timeout", "30")

    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {statement}".encode()))

    assert "tasks_live" in plan
    for table in ("tasks_completed", "tasks_ended", "executions"):
        assert table not in plan


def test_queues_beyond_the_cap_count_as_other(
    client: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: Any
) -> None:
    monkeypatch.setattr(gauges, "MAX_QUEUES", 2)
    for queue, tasks in {"a": 1, "b": 5, "c": 4, "d": 2}.items():
        connection.execute(
            "SELECT taskflow.enqueue('echo', '{}', queue => %s) FROM generate_series(1, %s)", [queue, tasks]
        )

    samples = scrape(client)

    def depth(queue: str) -> float | None:
        return value(samples, "queue_depth", queue=queue, state="pending", priority="normal")

    assert (depth("b"), depth("c"), depth("other"), depth("a")) == (5, 4, 3, None)


def test_without_a_database_the_process_still_speaks(make_app: Callable[..., Flask]) -> None:
    samples = scrape(make_app(database_url="postgresql://nobody@127.0.0.1:1/none").test_client())

    assert (value(samples, "database_up"), value(samples, "dlq_size")) == (0, None)
    assert value(samples, "uptime_seconds") is not None


def test_a_scraper_that_knows_openmetrics_gets_it(client: FlaskClient) -> None:
    response = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert response.mimetype == "application/openmetrics-text"
    assert response.text.endswith("# EOF\n")


def test_a_key_that_is_limited_to_queues_is_not_told_of_all(
    make_app: Callable[..., Flask], connection: psycopg.Connection[Any]
) -> None:
    assert limited_to(make_app, connection, "mail").get("/metrics").status_code == 403
    assert limited_to(make_app, connection, None, scopes=["read"]).get("/metrics").status_code == 200


def test_a_key_that_was_valid_is_told_that_the_database_is_away(
    make_app: Callable[..., Flask], connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(keys, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "REST_FACTOR", 0.0)
    client = limited_to(make_app, connection, None, scopes=["read"])
    assert value(scrape(client), "database_up") == 1
    with away(connection):
        assert client.get("/api/v1/tasks/1").status_code == 503

        assert value(scrape(client), "database_up") == 0
        assert client.get("/metrics", headers={"Authorization": "Bearer another"}).status_code == 503
        assert client.get("/metrics", headers={"Authorization": ""}).status_code == 401


@contextlib.contextmanager
def away(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Nobody but this connection reaches the database."""
    name, pid = connection.info.dbname, connection.info.backend_pid
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(make_conninfo(connection.info.dsn, dbname="postgres"), autocommit=True) as outside:
        outside.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        try:
            outside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s", [name, pid]
            )
            yield
        finally:
            outside.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def test_the_age_of_transactions_is_not_told_where_those_of_others_are_hidden(
    make_app: Callable[..., Flask],
    connection: psycopg.Connection[Any],
    dsn: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauges, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "REST_FACTOR", 0.0)
    connection.execute("CREATE ROLE sees_little LOGIN IN ROLE taskflow_server")
    app = make_app(database_url=make_conninfo(dsn, user="sees_little"))
    try:
        with psycopg.connect(dsn) as of_another:
            of_another.execute("SELECT 1")
            hidden = [value(scrape(app.test_client()), "oldest_transaction_age_seconds") for _ in range(2)]
            connection.execute("GRANT pg_read_all_stats TO sees_little")
            seen = value(scrape(app.test_client()), "oldest_transaction_age_seconds")
    finally:
        app.extensions[EXTENSION].database.engine.dispose()
        connection.execute("DROP OWNED BY sees_little")
        connection.execute("DROP ROLE sees_little")

    assert hidden == [None, None]
    assert (seen or 0) > 0
    (told,) = [record for record in caplog.records if record.message == "transactions_hidden"]
    assert "pg_read_all_stats" in told.__dict__["fix"]


def test_that_the_database_cannot_be_asked_is_logged_once_an_outage_and_not_for_each_scrape(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Database:
        away = True

        def fetch(self, *_: object) -> list[Any]:
            if self.away:
                raise DatabaseUnavailable("away")
            return []

    monkeypatch.setattr(gauges, "MAX_AGE_SECONDS", 0.0)
    monkeypatch.setattr(gauges, "REST_FACTOR", 0.0)
    database: Any = Database()
    collector = gauges.DatabaseGauges(database, heartbeat_timeout=30.0)
    for away in (True, True, True, False, True, True):
        database.away = away
        list(collector.collect())
    assert [record.message for record in caplog.records] == ["gauges_not_read"] * 2
