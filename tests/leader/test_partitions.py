from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from taskflow.leader.partitions import Partitions
from taskflow.store import partitions
from tests.leader.conftest import Database

PARENTS = ("tasks_completed", "tasks_ended", "executions")


def today() -> date:
    return datetime.now(UTC).date()


def attached(database: Database) -> set[str]:
    return set(
        database.all(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = ANY (%s::regclass[])",
            [f"taskflow.{parent}" for parent in PARENTS],
        )
    )


def drop_all_days(database: Database) -> None:
    for name in attached(database):
        database.connection.execute(f"DROP TABLE {name}")


def names(first: int, last: int) -> set[str]:
    return {
        f"taskflow.{parent}_{today() + timedelta(days=n):%Y%m%d}" for parent in PARENTS for n in range(first, last + 1)
    }


def test_days_are_made_from_yesterday_to_as_far_ahead_as_asked(database: Database) -> None:
    drop_all_days(database)
    assert database.one("SELECT taskflow.ensure_days(3)") == 3 * 5
    assert attached(database) == names(-1, 3)
    assert database.one("SELECT taskflow.ensure_days(3)") == 0
    assert database.one("SELECT taskflow.ensure_days(4)") == 3


def test_a_day_begins_and_ends_at_midnight_utc_whatever_the_session_says(database: Database) -> None:
    drop_all_days(database)
    database.connection.execute("SET timezone = 'Pacific/Auckland'; SET datestyle = 'German'")
    database.one("SELECT taskflow.ensure_days(0)")
    database.connection.execute("SET timezone = 'UTC'; SET datestyle = 'ISO'")
    bounds = database.one(
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = %s::regclass",
        f"taskflow.executions_{today():%Y%m%d}",
    )
    assert bounds == f"FOR VALUES FROM ('{today()} 00:00:00+00') TO ('{today() + timedelta(days=1)} 00:00:00+00')"


def test_a_day_has_the_keys_and_indexes_of_its_kind_and_no_identity_of_its_own(database: Database) -> None:
    drop_all_days(database)
    database.one("SELECT taskflow.ensure_days(0)")
    keys = database.one(
        "SELECT count(*) FROM pg_index WHERE indisprimary AND indrelid::regclass::text ~ 'tasks_(completed|ended)_2'"
    )
    assert keys == 4
    day = f"taskflow.executions_{today():%Y%m%d}"
    assert database.one("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", day) == 2
    task = database.add_task("completed", datetime.now(UTC))
    assert database.add_task("pending") > task


def test_made_many_times_at_once_every_day_is_there_once(database: Database) -> None:
    drop_all_days(database)

    def make(_: int) -> int:
        with database.connect() as connection:
            return partitions.ensure_days(connection, 5)

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(make, range(6))) == 3 * 7
    assert attached(database) == names(-1, 5)


def test_made_in_an_old_snapshot_days_that_another_made_meanwhile_are_no_error(database: Database) -> None:
    drop_all_days(database)
    with database.connect() as old:
        with old.transaction():
            old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM taskflow.workers")
            database.one("SELECT taskflow.ensure_days(1)")
            notices: list[str] = []
            old.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
            assert old.execute("SELECT taskflow.ensure_days(1)").fetchone() == (0,)
        assert notices == []


def test_a_day_that_exists_alone_is_attached_again_with_its_rows(database: Database) -> None:
    task = database.add_task("completed", datetime.now(UTC))
    day = f"taskflow.tasks_completed_{today():%Y%m%d}"
    database.connection.execute(f"ALTER TABLE taskflow.tasks_completed DETACH PARTITION {day} CONCURRENTLY")
    assert database.one("SELECT count(*) FROM taskflow.tasks") == 0
    assert database.one("SELECT taskflow.ensure_days(1)") == 1
    assert database.all("SELECT id FROM taskflow.tasks") == [task]


def test_a_stray_table_in_the_place_of_a_day_costs_no_other_day(database: Database) -> None:
    drop_all_days(database)
    stray = f"executions_{today() + timedelta(days=1):%Y%m%d}"
    database.connection.execute(f"CREATE TABLE taskflow.{stray} (something text)")
    notices: list[str] = []
    database.connection.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    assert database.one("SELECT taskflow.ensure_days(2)") == 3 * 4 - 1
    assert attached(database) == names(-1, 2) - {f"taskflow.{stray}"}
    assert len(notices) == 1
    assert stray in notices[0]


def test_days_are_made_beside_open_transactions_that_complete_and_read(database: Database) -> None:
    drop_all_days(database)
    database.one("SELECT taskflow.ensure_days(0)")
    with database.connect() as reader, database.connect() as writer, reader.transaction(), writer.transaction():
        reader.execute("SELECT count(*) FROM taskflow.tasks, taskflow.executions")
        writer.execute("INSERT INTO taskflow.tasks (type, state, finished_at) VALUES ('t', 'completed', now())")
        assert partitions.ensure_days(database.connection, 2) == 3 * 2


def test_the_maker_of_days_locks_out_neither_completions_nor_claims_nor_readers(database: Database) -> None:
    drop_all_days(database)
    database.one("SELECT taskflow.ensure_days(0)")
    database.enqueue(2)
    worker = database.register()
    with database.connect() as maker, maker.transaction():
        maker.execute("SELECT taskflow.ensure_days(2)")
        database.connection.execute("SET lock_timeout = '1s'")
        tasks = database.claim(worker, 2)
        assert [state for _, state in database.complete(worker, tasks)] == []
        assert database.one("SELECT count(*) FROM taskflow.tasks WHERE state = 'completed'") == 2


@pytest.mark.parametrize("days", [None, -1, 367])
def test_nonsense_is_refused(database: Database, days: int | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        database.one("SELECT taskflow.ensure_days(%s::int)", days)


def test_the_loop_makes_a_month_and_says_so_once(database: Database) -> None:
    drop_all_days(database)
    loop = Partitions()
    with capture_logs() as logs:
        assert loop.work(database.connection) == loop.work(database.connection)
    assert attached(database) == names(-1, 31)
    assert [(item["event"], item["count"]) for item in logs] == [("days_made", 3 * 33)]
