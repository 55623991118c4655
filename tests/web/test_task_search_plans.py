"""A list reads a small part of history, whatever its filter, its order and the planner's statistics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask

from taskflow.store import filters
from taskflow.web.services import EXTENSION
from taskflow.web.tasks import task_search
from taskflow.web.tasks.task_search import LATEST_ENDED, NEWEST, OLDEST, Order, Search

ROWS = 60_000
FILL = """
INSERT INTO taskflow.tasks_completed (
    id, type, queue, priority, state, attempt, worker_id, created_at, run_at, finished_at, updated_at)
OVERRIDING SYSTEM VALUE
SELECT nextval('taskflow.tasks_id_seq'), CASE WHEN n % 20000 = 7 THEN 'rare' ELSE 'type' || n % 5 END, 'q' || n % 3,
       CASE WHEN n % 20000 = 9 THEN 3 ELSE n % 3 END, 'completed', 1, 1 + n / 1000, at, at, at, at
FROM generate_series(1, %s) n,
     LATERAL (SELECT now() - interval '20 hours' + n * interval '20 hours' / %s AS at) AS moment
"""
# What fits, and how large a part of the rows may be looked at.
FILTERS = {
    "": 0.02,
    "state:completed": 0.02,
    "type:type3": 0.1,
    "type:rare": 0.2,
    "type:none": 0.1,
    "priority:critical": 0.2,
    "queue:q1 priority:critical": 0.2,
    "worker:30": 0.25,
    "worker:9999": 0.1,
    "created:>10h": 0.25,
    "created:>19h": 0.25,
    "created:<15h created:>14h type:type1": 0.35,
    "id:100..200": 0.1,
    "id:77": 0.1,
}
# A list of rare values takes statistics: without any, the planner believes each to be frequent.
FILTERS_WITH_STATISTICS = {"type:none,rare": 0.2}


@pytest.fixture
def history(connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> psycopg.Connection[Any]:
    """A long history, as far as the search knows."""
    connection.execute("SELECT taskflow.ensure_days(1)")
    connection.execute(FILL.replace("%s", str(ROWS)).replace("%%", "%"))
    for name, value in {"FEW_ROWS": 0, "WALKED_ROWS": 2_000, "FIRST_IDS": 2_000, "MOST_IN_WINDOW": 500}.items():
        monkeypatch.setattr(task_search, name, value)
    return connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


class Explained(Search):
    """Runs every statement under EXPLAIN ANALYZE as well, and keeps what its scans of `tables` looked at."""

    def __init__(self, connection: Any, tables: tuple[str, ...] = ("tasks_completed_", "tasks_ended_")) -> None:
        self.scans: list[tuple[str, float]] = []
        self.tables = tables
        super().__init__(connection)

    def _run(self, statement: str, parameters: dict[str, Any]) -> Any:
        if "taskflow.tasks_" in statement:
            explain = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) " + statement
            plan = self._connection.exec_driver_sql(explain, parameters).scalar_one()[0]["Plan"]
            for node in nodes(plan):
                relation = node.get("Relation Name", "")
                if relation.startswith(self.tables):
                    looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
                    looked_at += node.get("Rows Removed by Index Recheck", 0)
                    self.scans.append((f"{node['Node Type']} on {relation}", looked_at * node["Actual Loops"]))
        return super()._run(statement, parameters)


@pytest.mark.parametrize("statistics", ["none", "fresh"])
@pytest.mark.parametrize("order", [NEWEST, OLDEST, LATEST_ENDED], ids=["newest", "oldest", "latest_ended"])
def test_a_page_of_a_long_history_is_found_in_a_small_part_of_it(
    app: Flask, history: psycopg.Connection[Any], order: Order, statistics: str
) -> None:
    # VACUUM summarizes for BRIN, as autovacuum does; the statistics stay what they were.
    history.execute("VACUUM (ANALYZE) taskflow.tasks" if statistics == "fresh" else "VACUUM taskflow.tasks")
    database = app.extensions[EXTENSION].database
    cases = FILTERS if statistics == "none" else FILTERS | FILTERS_WITH_STATISTICS
    for text, part in cases.items():
        wanted = filters.parse(text)
        with database.transaction() as connection:
            search = Explained(connection)
            found = search.first(wanted, order, 51)
        condition = wanted.condition()
        row = history.execute(
            f"SELECT count(*) FROM taskflow.tasks t WHERE {condition.sql}", condition.parameters
        ).fetchone()
        assert row is not None
        assert len(found) == min(51, row[0]), text
        assert [scan for scan, _ in search.scans if scan.startswith("Seq Scan")] == [], text
        assert sum(rows for _, rows in search.scans) <= part * ROWS + 2_000, (text, search.scans)


@pytest.mark.parametrize("statistics", ["none", "fresh"])
def test_what_runs_or_is_held_back_is_found_without_reading_what_waits(
    app: Flask, connection: psycopg.Connection[Any], statistics: str
) -> None:
    connection.execute("INSERT INTO taskflow.tasks (type) SELECT 'echo' FROM generate_series(1, 5000)")
    connection.execute("""UPDATE taskflow.tasks SET state = 'running', worker_id = id % 2 + 1, claimed_at = now()
        WHERE id IN (SELECT id FROM taskflow.tasks ORDER BY id LIMIT 6)""")
    connection.execute("INSERT INTO taskflow.tasks (type, run_at, failures, state) SELECT 'echo', now(), 1, 'retrying'")
    connection.execute("""INSERT INTO taskflow.tasks (type, concurrency_key, state, key_state)
        SELECT 'echo', 'k', 'blocked', 'blocked' FROM generate_series(1, 4)""")
    connection.execute("SELECT taskflow.record_claims()")
    if statistics == "fresh":
        connection.execute("VACUUM ANALYZE taskflow.tasks_live")
    database = app.extensions[EXTENSION].database
    cases = {
        "state:running": 6, "worker:1": 3, "worker:1..2 type:echo": 6, "worker:7": 0, "worker:1 state:pending": 0,
        "state:blocked": 4, "state:retrying": 0, "queue:other state:pending,scheduled,retrying": 0,
    }  # fmt: skip
    for text, count in cases.items():
        for look in (lambda search, wanted: search.first(wanted, NEWEST, 51), lambda s, w: s.due_first(w, 51, None)):
            with database.transaction() as reading:
                search = Explained(reading, ("tasks_live",))
                assert len(look(search, filters.parse(text))) == count, text
            assert sum(rows for _, rows in search.scans) <= 6, (text, search.scans)
