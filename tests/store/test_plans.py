"""No plan of the hot path may depend on statistics: those of a queue's table are always stale.

Each statement is planned and kept while the table is empty, or holds one or ten analyzed rows; then 100,000 rows are
loaded, and what a statement costs a task is compared with the same statement over a fresh table, in the same run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import psutil
import pytest

from taskflow.store import tasks
from taskflow.store.arrays import texts
from taskflow.store.tasks import BOTTOM
from tests.store.support import Connection, insert, worker

LOADED = 100_000
BATCH = 200
ROUNDS = 16
TOLERANCE = 4.0
"""Machines are noisy; a plan that has tipped is slower by a hundred times."""


def step(connection: Connection, me: int, bounds: list[tuple[str, int]], *, limited: bool) -> list[tuple[str, int]]:
    """One claim and its completion; returns the frontier after it."""
    types = texts(["noop"])
    if limited:
        found = tasks.claim_limited(
            connection, me, "default", types, free=BATCH, wanted=BATCH, frontier=bounds, floor=0
        ).tasks
    else:
        found = tasks.claim(connection, me, ["default"], types, BATCH, bounds)
    claimed = sorted(found, key=lambda task: (task.run_at, task.id))
    tasks.complete(connection, me, [(t.id, t.attempt, 0.0, "succeeded", None, None) for t in claimed])
    return [(claimed[-1].run_at.isoformat(), claimed[-1].id)] * 4 if claimed else bounds


def processor_seconds(connection: Connection, me: int, *, limited: bool) -> float:
    """What the rounds cost the server's process: the clock would count the other processes of the machine as well."""
    server = psutil.Process(connection.info.backend_pid)
    bounds = [BOTTOM] * 4
    before = server.cpu_times()
    for _ in range(ROUNDS):
        bounds = step(connection, me, bounds, limited=limited)
    after = server.cpu_times()
    assert bounds != [BOTTOM] * 4, "nothing was claimed, so nothing was measured"
    return after.user + after.system - before.user - before.system


def load(connection: Connection) -> None:
    with connection.cursor().copy("COPY taskflow.tasks (type, payload) FROM STDIN") as copy:
        for number in range(LOADED):
            copy.write_row(("noop", f'{{"n": {number}}}'))


@pytest.fixture
def unattended(connection: Connection) -> Connection:
    """Statistics stay as they are: autovacuum would mend them before they are seen to be stale."""
    connection.execute("ALTER TABLE taskflow.tasks_live SET (autovacuum_enabled = off)")
    connection.execute("SET plan_cache_mode = force_generic_plan")
    return connection


@pytest.mark.parametrize("limited", [False, True], ids=["unlimited", "limited"])
@pytest.mark.parametrize("rows", [0, 1, 10])
def test_plans_made_for_a_small_table_serve_a_large_one(unattended: Connection, rows: int, limited: bool) -> None:
    connection = unattended
    if limited:
        connection.execute("UPDATE taskflow.queues SET max_workers = 1000, rate_limit = 1000000000")
    me = worker(connection)
    insert(connection, rows)
    connection.execute("ANALYZE taskflow.tasks_live")
    for _ in range(7):  # prepared, planned, and the plans kept
        step(connection, me, [BOTTOM] * 4, limited=limited)
    load(connection)
    stale = processor_seconds(connection, me, limited=limited)

    connection.execute("ANALYZE taskflow.tasks_live")
    connection.execute("DISCARD PLANS")
    fresh = processor_seconds(connection, me, limited=limited)
    assert stale < TOLERANCE * fresh, f"{stale:.2f} s with plans of {rows} rows, {fresh:.2f} s with fresh ones"


def test_where_plans_are_switched_off_nothing_is_compiled(connection: Connection) -> None:
    """Before PostgreSQL 18 a plan that is off and must be used all the same costs 10,000,000,000: enough to compile it,
    for half a second, at every call."""
    compiled = connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'taskflow'::regnamespace"
        " AND array_to_string(proconfig, ' ') ~ 'enable_[a-z]+=off' AND NOT 'jit=off' = ANY (proconfig)"
    ).fetchall()
    assert compiled == []


# What each function does, as a statement to be explained with its settings: a sequential scan of the queue's table, or
# a sort of it, must never be the plan.
STATEMENTS = {
    "claim": """UPDATE taskflow.tasks_live t SET state = 'running', worker_id = 1, claimed_at = now()
        WHERE t.id = ANY (ARRAY(SELECT c.id FROM taskflow.tasks_live c
            WHERE c.queue = 'default' AND c.priority = 1 AND (c.run_at, c.id) > ('-infinity', 0)
              AND c.run_at <= now() AND c.state IN ('pending', 'retrying') AND c.key_state IS DISTINCT FROM 'blocked'
              AND c.type = ANY (ARRAY['noop'])
            ORDER BY c.run_at, c.id LIMIT 200 FOR UPDATE SKIP LOCKED))""",
    "complete": """UPDATE taskflow.tasks t SET state = 'completed', finished_at = clock_timestamp()
        WHERE t.id = ANY (ARRAY[1, 2, 3]::bigint[]) AND t.state = 'running'
        AND t.worker_id = 1 AND t.attempt = 1""",
    "next_due": """SELECT c.run_at FROM taskflow.tasks_live c WHERE c.queue = 'default' AND c.priority = 1
        AND c.state IN ('pending', 'retrying') AND c.key_state IS DISTINCT FROM 'blocked'
        AND c.type = ANY (ARRAY['noop']) ORDER BY c.run_at, c.id LIMIT 1""",
    "rescue": """SELECT * FROM taskflow.tasks_live t
        WHERE t.id = ANY (ARRAY(SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.worker_id = 1))
          AND t.worker_id = 1 AND t.state = 'running' ORDER BY t.id LIMIT 500 FOR UPDATE""",
    "forget_claims": """DELETE FROM taskflow.claims c WHERE c.worker_id = 1 AND NOT EXISTS (
        SELECT FROM taskflow.tasks_live t WHERE t.id = ANY (c.task_ids) AND t.worker_id = 1 AND t.state = 'running')""",
    "cancelled": """SELECT t.id FROM taskflow.tasks_live t
        WHERE t.cancel_requested AND t.worker_id = 1 AND t.state = 'running'""",
    "count": """SELECT count(*) FROM taskflow.tasks_live t
        WHERE t.id = ANY (ARRAY(
            SELECT unnest(c.task_ids) FROM taskflow.claims c WHERE c.queue = 'default' AND c.id >= 7))
          AND t.state = 'running' AND t.queue = 'default'""",
    "floor": """SELECT c.id FROM taskflow.claims c WHERE c.queue = 'default' AND c.id >= 7 AND EXISTS (
            SELECT FROM taskflow.tasks_live t
            WHERE t.id = ANY (c.task_ids) AND t.state = 'running' AND t.queue = 'default')
        ORDER BY c.id LIMIT 1""",
    "key_count": """SELECT count(*) FROM taskflow.tasks_live t
        WHERE t.queue = 'default' AND t.concurrency_key = 'ada' AND t.key_state = 'running'""",
    "key_first": """SELECT t.id FROM taskflow.tasks_live t
        WHERE t.queue = 'default' AND t.concurrency_key = 'ada' AND t.type = 'noop' AND t.priority = 1
          AND t.run_at <= now() AND t.key_state IS DISTINCT FROM 'running'
        ORDER BY t.run_at, t.id LIMIT 1 FOR UPDATE SKIP LOCKED""",
    "key_types": """SELECT t.type FROM taskflow.tasks_live t
        WHERE t.queue = 'default' AND t.concurrency_key = 'ada' AND t.type > ''
        AND t.key_state IS DISTINCT FROM 'running'
        ORDER BY t.type LIMIT 1""",
    "keys": """SELECT t.queue, t.concurrency_key FROM taskflow.tasks_live t
        WHERE (t.queue::text, t.concurrency_key::text) > ('', '')
          AND t.key_state = 'blocked'
        ORDER BY t.queue::text, t.concurrency_key::text LIMIT 1""",
    "depth": """SELECT FROM taskflow.tasks_live t
        WHERE t.queue = 'default' AND t.state IN ('pending', 'retrying')
        AND t.key_state IS DISTINCT FROM 'blocked' OFFSET 10000 LIMIT 1""",
    "unique": "SELECT t.id FROM taskflow.tasks_live t WHERE t.type = 'noop' AND t.unique_key = 'u'",
    "find": "SELECT * FROM taskflow.tasks t WHERE t.id = 1 AND t.state = 'completed'",
}
IN_ORDER = ("claim", "next_due", "key_first", "key_types", "keys")
EXPECTED_INDEX = {
    "claim": {"tasks_claim", "tasks_live_pkey"},
    "complete": {"tasks_live_pkey"},
    "next_due": {"tasks_claim"},
    "rescue": {"claims_pkey", "tasks_live_pkey"},
    "forget_claims": {"claims_pkey", "tasks_live_pkey"},
    "cancelled": {"tasks_cancel_requested"},
    "count": {"claims_limited", "tasks_live_pkey"},
    "floor": {"claims_limited", "tasks_live_pkey"},
    "key_count": {"tasks_key_running"},
    "key_first": {"tasks_key_waiting"},
    "key_types": {"tasks_key_waiting"},
    "keys": {"tasks_key_blocked"},
    "depth": {"tasks_claim"},
    "unique": {"tasks_unique_key"},
}


def nodes(plan: dict[str, object]) -> Iterator[dict[str, object]]:
    yield plan
    for child in plan.get("Plans", []):  # type: ignore[attr-defined]
        yield from nodes(child)


@pytest.mark.parametrize("state", ["empty", "fresh", "bloated", "stale"])
@pytest.mark.parametrize("name", STATEMENTS)
def test_every_statement_goes_by_its_index(unattended: Connection, name: str, state: str) -> None:
    connection = unattended
    if state != "empty":
        insert(connection, 5000)
        insert(connection, 2000, concurrency_key="ada", state="blocked", key_state="blocked")
    if state == "bloated":
        connection.execute("UPDATE taskflow.tasks_live SET version = version + 1")
        connection.execute("DELETE FROM taskflow.tasks_live WHERE id % 10 > 0")
    if state != "stale":
        connection.execute("ANALYZE taskflow.tasks_live")
    for setting in ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"):
        connection.execute(f"SET {setting} = off")
    if name in IN_ORDER:
        connection.execute("SET enable_sort = off")
    with connection.transaction(force_rollback=True):
        found = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {STATEMENTS[name]}").fetchone()
    assert found is not None
    plan = json.loads(json.dumps(found[0]))[0]["Plan"]
    kinds = [str(node["Node Type"]) for node in nodes(plan)]
    used = {str(node["Index Name"]) for node in nodes(plan) if "Index Name" in node}
    assert "Seq Scan" not in kinds
    assert used >= EXPECTED_INDEX.get(name, set()), kinds
    if name in IN_ORDER:
        assert "Sort" not in kinds
