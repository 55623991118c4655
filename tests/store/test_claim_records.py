"""What a claim leaves behind: rows that keep their places, and the record of who has claimed what."""

from __future__ import annotations

from functools import partial

import pytest

from taskflow.store import resources, tables, workers
from taskflow.store.connection import connect
from taskflow.store.rescue import record_claims, rescue
from tests.store.support import Connection, claim, complete, insert, row, worker

UPDATES = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relid = 'taskflow.tasks_live'::regclass"
RECORDED = "SELECT coalesce(sum(cardinality(task_ids)), 0) FROM taskflow.claims WHERE worker_id = %s"
# Which columns of tasks_live each index depends on, in its WHERE too: a change of one of them enters all indexes.
INDEXED = """
    SELECT DISTINCT a.attname FROM pg_index i
    JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
    WHERE i.indrelid = 'taskflow.tasks_live'::regclass AND a.attnum > 0"""


@pytest.fixture
def me(connection: Connection) -> int:
    return worker(connection)


def recorded(connection: Connection, worker_id: int) -> int:
    (found,) = connection.execute(RECORDED, [worker_id]).fetchall()
    return int(found[0])


def beat(connection: Connection, worker_id: int) -> workers.Pulse:
    return workers.heartbeat(connection, worker_id, 0, [])


class TestInPlace:
    def test_a_claim_leaves_every_row_on_its_page(self, connection: Connection, me: int) -> None:
        insert(connection, 2000)
        with connection.transaction():
            assert len(claim(connection, me, 1500)) == 1500
            (updates,) = connection.execute(UPDATES).fetchall()
        assert updates == (1500, 1500)

    def test_nothing_that_a_claim_changes_of_a_task_without_a_key_is_in_an_index(
        self, connection: Connection, me: int
    ) -> None:
        (task,) = insert(connection)
        look = f"SELECT to_jsonb(t) FROM taskflow.tasks_live t WHERE id = {task}"
        ((before,),) = connection.execute(look).fetchall()
        claim(connection, me)
        ((after,),) = connection.execute(look).fetchall()
        changed = {name for name in after if after[name] != before[name]}
        assert changed >= {"state", "worker_id", "attempt", "claimed_at"}
        indexed = {name for (name,) in connection.execute(INDEXED)}
        assert indexed >= {"queue", "key_state", "failures", "unique_key"}
        assert not changed & indexed


class TestRecord:
    def test_a_heartbeat_forgets_the_claims_of_which_nothing_runs(self, connection: Connection, me: int) -> None:
        insert(connection, 6)
        first, second = claim(connection, me, 3), claim(connection, me, 3)
        assert recorded(connection, me) == 6
        complete(connection, me, first)
        complete(connection, me, second[:2])
        beat(connection, me)
        assert recorded(connection, me) == 3  # one of the second runs
        complete(connection, me, second[2:])
        beat(connection, me)
        assert recorded(connection, me) == 0

    def test_what_a_worker_of_others_has_claimed_again_is_no_reason_to_keep_a_claim(
        self, connection: Connection, me: int
    ) -> None:
        insert(connection, 2)
        claimed = claim(connection, me)
        complete(connection, me, claimed, "failed", details='{"retry_after": 0}')
        other = worker(connection)
        assert len(claim(connection, other)) == 2
        beat(connection, me)
        assert (recorded(connection, me), recorded(connection, other)) == (0, 2)

    def test_a_claim_of_nothing_leaves_no_trace(self, connection: Connection, me: int) -> None:
        assert claim(connection, me) == []
        assert connection.execute("SELECT count(*) FROM taskflow.claims").fetchone() == (0,)

    def test_a_worker_that_leaves_takes_its_claims_along_unless_something_runs(
        self, connection: Connection, me: int
    ) -> None:
        insert(connection, 2)
        complete(connection, me, claim(connection, me, 1))
        claim(connection, me, 1)
        workers.deregister(connection, me)
        assert recorded(connection, me) == 1
        assert connection.execute("SELECT * FROM taskflow.orphaned_workers()").fetchall() == [(me,)]
        assert rescue(connection, me, None) == 1
        assert recorded(connection, me) == 0
        assert connection.execute("SELECT * FROM taskflow.orphaned_workers()").fetchall() == []

    def test_what_runs_without_a_claim_is_recorded_and_a_wrong_state_of_a_key_corrected(
        self, connection: Connection, me: int
    ) -> None:
        by_hand, keyed = insert(connection)[0], insert(connection, concurrency_key="ada")[0]
        (stuck,) = insert(connection, concurrency_key="bob", key_state="running")
        claimed = [task.id for task in claim(connection, me, types=("noop",), wanted=1)]
        assert claimed == [by_hand]
        connection.execute("DELETE FROM taskflow.claims")
        connection.execute(
            "UPDATE taskflow.tasks SET state = 'running', worker_id = 99, claimed_at = now() WHERE id = %s", [keyed]
        )
        assert record_claims(connection) == 3
        assert (recorded(connection, me), recorded(connection, 99)) == (1, 1)
        states = connection.execute("SELECT id, key_state::text FROM taskflow.tasks ORDER BY id").fetchall()
        assert states == [(by_hand, None), (keyed, "running"), (stuck, None)]
        assert record_claims(connection) == 0
        assert rescue(connection, 99, None) == 1
        assert row(connection, keyed, "state") == ("pending",)

    def test_what_runs_in_a_limited_queue_is_recorded_as_claimed_from_there(
        self, connection: Connection, me: int
    ) -> None:
        insert(connection, 2)
        (elsewhere,) = insert(connection, queue="other")
        claim(connection, me)
        claim(connection, me, queues=("other",))
        connection.execute("UPDATE taskflow.queues SET max_workers = 3 WHERE name = 'default'")
        assert record_claims(connection) == 2
        limited = "SELECT worker_id, task_ids FROM taskflow.claims WHERE queue = 'default'"
        assert connection.execute(limited).fetchall() == [(me, [elsewhere - 2, elsewhere - 1])]
        assert record_claims(connection) == 0


def upgrade_with(connection: Connection, dsn: str, revision: str, before: str) -> None:
    """Make the tables up to `revision`, and execute `before` just before that one."""
    opened = partial(connect, dsn, name="test", autocommit=False)
    connection.execute("CREATE SCHEMA taskflow")
    for each in resources.revisions():
        if each == revision:
            connection.execute(before)
        tables.upgrade(opened, each, lock_timeout="1s")


def test_what_runs_and_is_blocked_at_the_migration_is_recorded_by_it(empty_dsn: str) -> None:
    before = """
        INSERT INTO taskflow.tasks (type, state, concurrency_key, worker_id, claimed_at) VALUES
            ('t', 'running', NULL, 5, now()), ('t', 'running', 'k', 5, now()),
            ('t', 'running', 'l', 6, now()), ('t', 'blocked', 'k', NULL, NULL),
            ('t', 'pending', 'k', NULL, NULL)"""
    with connect(empty_dsn, name="test") as connection:
        upgrade_with(connection, empty_dsn, "0008", before)
        claims = connection.execute("SELECT worker_id, task_ids FROM taskflow.claims ORDER BY 1").fetchall()
        assert claims == [(5, [1, 2]), (6, [3])]
        states = connection.execute("SELECT key_state::text FROM taskflow.tasks ORDER BY id").fetchall()
        assert states == [(None,), ("running",), ("running",), ("blocked",), (None,)]


def test_what_had_a_claim_number_at_the_migration_is_found_by_claims_beyond_any_number(empty_dsn: str) -> None:
    before = """
        SELECT setval('taskflow.claim_numbers', 70);
        INSERT INTO taskflow.tasks (type, queue, state, worker_id, claimed_at, claim_number) VALUES
            ('t', 'narrow', 'running', 5, now(), 69), ('t', 'narrow', 'running', 5, now(), 70),
            ('t', 'wide', 'running', 5, now(), NULL), ('t', 'narrow', 'pending', NULL, NULL, NULL);
        INSERT INTO taskflow.claims (worker_id, task_ids) VALUES (5, '{1,2,3}')"""
    with connect(empty_dsn, name="test") as connection:
        upgrade_with(connection, empty_dsn, "0009", before)
        claims = connection.execute("SELECT queue, task_ids, id > 70 FROM taskflow.claims ORDER BY id").fetchall()
        assert claims == [(None, [1, 2, 3], False), ("narrow", [1, 2], True)]
