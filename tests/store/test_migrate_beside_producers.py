"""Migrations of a system that is in use: what they lock, how long, and what they do when they cannot have it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from taskflow.errors import DatabaseUnavailable, TaskflowError
from taskflow.store import resources
from taskflow.store.migrate import migrate, pending

INSERT = "INSERT INTO taskflow.tasks (type) VALUES ('echo')"
# By the server, which counts only the time in which a statement waits for a lock, whatever else this machine does.
LONGEST_WAIT = "-c lock_timeout=500ms"
WAITS_FOR_A_LOCK = """
    SELECT query_start FROM pg_stat_activity
    WHERE application_name = 'taskflow migrate' AND wait_event_type = 'Lock' AND datname = current_database()
"""
ASKS_TO_BE_ALONE = """
    SELECT query_start FROM pg_stat_activity
    WHERE application_name = 'taskflow migrate' AND datname = current_database()
      AND (query LIKE '%pg_try_advisory_xact_lock%' OR query = 'COMMIT') AND state = 'idle'
"""
ENDS_BY_ITSELF = "-c idle_in_transaction_session_timeout=20s"
LAST_DAY = """
    SELECT to_regclass(to_char((now() AT TIME ZONE 'UTC')::date + 31, '"taskflow.executions_"YYYYMMDD'))
"""
DROP_LAST_DAY = """
    DO $$ BEGIN
        EXECUTE to_char((now() AT TIME ZONE 'UTC')::date + 31, '"DROP TABLE taskflow.executions_"YYYYMMDD');
    END $$
"""
MIGRATION = """
from alembic import op

revision = "9998"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade():
    op.execute("ALTER TABLE taskflow.tasks ADD COLUMN added integer")
"""


class Producers:
    """Threads that insert one task after the other; `end` raises `LockNotAvailable` if one waited half a second."""

    def __init__(self, dsn, count=4):
        self.dsn, self.inserted = dsn, 0
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(count)
        self._runs = [self._pool.submit(self._produce) for _ in range(count)]

    def _produce(self):
        with psycopg.connect(self.dsn, autocommit=True, options=LONGEST_WAIT) as connection:
            while not self._end.is_set():
                connection.execute(INSERT)
                with self._lock:
                    self.inserted += 1

    def end(self):
        self._end.set()
        self._pool.shutdown()
        for run in self._runs:
            run.result()


@contextmanager
def producers(dsn, until):
    running = Producers(dsn)
    try:
        until(lambda: running.inserted > 20)
        yield
    finally:
        running.end()


@contextmanager
def open_producer(dsn):
    """A transaction that has inserted a task and does not end by itself."""
    with psycopg.connect(dsn, application_name="slow checkout") as connection:
        connection.execute(INSERT)
        yield connection


@pytest.fixture
def background():
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit


@pytest.fixture
def change(checkout):
    """Change the function that the trigger calls, and the trigger itself."""
    function, trigger = checkout / "sql/functions/ring_on_insert.sql", checkout / "sql/triggers/tasks_ring.sql"
    function.write_text(function.read_text().replace("RETURN NULL", "RETURN NULL /* changed */"))
    trigger.write_text(trigger.read_text().replace("FOR EACH STATEMENT", "FOR EACH STATEMENT WHEN (true)"))


@pytest.fixture
def new_column(checkout):
    """A migration that takes the strongest lock on the table of the tasks."""
    head = resources.revisions()[-1]
    (checkout / "migrations/versions/9998_new_column.py").write_text(MIGRATION.format(head=head))


def tries(connection, until, number, query=WAITS_FOR_A_LOCK):
    """Wait until the migration has been seen waiting for a lock (or what else `query` looks for) `number` times."""
    seen = set()

    def look():
        seen.update(row[0] for row in connection.execute(query))
        return len(seen) >= number

    until(look)


@pytest.mark.usefixtures("change")
def test_a_changed_function_and_trigger_let_no_insert_wait_beside_an_open_producer(dsn, connection, until, background):
    with producers(dsn, until), open_producer(dsn) as slow:
        migration = background(migrate, dsn)
        tries(connection, until, 3)
        assert not migration.done()
        slow.commit()
        report = migration.result()

    assert report.done.objects == ["functions/ring_on_insert.sql"]
    assert report.done.triggers == ["triggers/tasks_ring.sql"]
    definition = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'tasks_ring' AND tgparentid = 0"
    assert "WHEN (true)" in connection.execute(definition).fetchone()[0]


@pytest.mark.usefixtures("new_column")
def test_a_migration_of_the_tasks_lets_no_insert_wait_beside_an_open_producer(dsn, connection, until, background):
    with producers(dsn, until), open_producer(dsn) as slow:
        migration = background(migrate, dsn)
        tries(connection, until, 2)
        slow.commit()
        report = migration.result()

    assert report.done.tables == ["9998"]
    assert connection.execute("SELECT count(added) FROM taskflow.tasks").fetchone() == (0,)


@pytest.mark.usefixtures("change")
def test_patience_ends_with_the_name_of_who_is_in_the_way_and_the_next_run_goes_on(dsn):
    with (
        open_producer(dsn) as slow,
        pytest.raises(TaskflowError, match=rf"trigger tasks_ring .* pid {slow.info.backend_pid} \(slow checkout"),
    ):
        migrate(dsn, patience_seconds=0)

    assert pending(dsn).triggers == ["triggers/tasks_ring.sql"]
    assert pending(dsn).objects == []
    assert migrate(dsn).done.triggers == ["triggers/tasks_ring.sql"]


def test_a_trigger_is_not_touched_for_a_comment_or_its_layout(dsn, checkout):
    trigger = checkout / "sql/triggers/tasks_ring.sql"
    trigger.write_text("-- Another comment.\n" + trigger.read_text().replace("\n    ", "\n        "))

    with open_producer(dsn):
        assert not migrate(dsn, patience_seconds=0).done


def test_a_day_that_cannot_be_attached_is_waited_for_no_longer_either(dsn, connection):
    connection.execute("SELECT taskflow.ensure_days(31)")
    connection.execute(DROP_LAST_DAY)
    with psycopg.connect(dsn, application_name="backup", options=ENDS_BY_ITSELF) as slow:
        slow.execute("LOCK TABLE taskflow.executions IN SHARE MODE")
        with pytest.raises(TaskflowError, match=rf"daily partitions .* pid {slow.info.backend_pid} \(backup"):
            migrate(dsn, patience_seconds=0)

    assert connection.execute(LAST_DAY).fetchone() == (None,)
    migrate(dsn)
    assert connection.execute(LAST_DAY).fetchone() != (None,)


@pytest.mark.usefixtures("change")
def test_a_second_migration_waits_for_the_first_and_finds_nothing_to_do(dsn, connection, until):
    with open_producer(dsn) as slow, ThreadPoolExecutor(2) as pool:
        first = pool.submit(migrate, dsn)
        tries(connection, until, 1)
        second = pool.submit(migrate, dsn)
        tries(connection, until, 3, ASKS_TO_BE_ALONE)
        assert not second.done()
        slow.commit()

        assert first.result().done.triggers == ["triggers/tasks_ring.sql"]
        assert not second.result().done


@pytest.mark.usefixtures("change")
def test_a_migration_that_loses_its_lock_stops_before_the_next_step(dsn, connection, until, background):
    connection.execute("SELECT taskflow.ensure_days(31)")
    last_day, exists = connection.execute(
        "SELECT day, format('SELECT to_regclass(%L) IS NOT NULL', day)"
        " FROM to_char((now() AT TIME ZONE 'UTC')::date + 31, '\"taskflow.tasks_ended_\"YYYYMMDD') AS day"
    ).fetchone()
    connection.execute(f"DROP TABLE {last_day}")
    guard = (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid <> pg_backend_pid()"
    )
    with open_producer(dsn) as slow:
        migration = background(migrate, dsn)
        tries(connection, until, 1)
        connection.execute(f"SELECT pg_terminate_backend(({guard}))")
        slow.commit()

        with pytest.raises(DatabaseUnavailable):
            migration.result()
    assert connection.execute(exists).fetchone() == (False,)

    migrate(dsn)
    assert connection.execute(exists).fetchone() == (True,)
