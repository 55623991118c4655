from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from taskflow.leader.expiry import Expiry
from taskflow.leader.statistics import CATCH_UP, CATCH_UP_REST, LATE, ROUND_SECONDS, Statistics
from tests.leader.conftest import Database, ManualClock

SUMS = "SELECT minute, queue, type, outcome::text, count FROM taskflow.task_stats ORDER BY minute, queue, type, outcome"


def counting() -> Statistics:
    """Whose rounds take no time, so that none is cut short, however slow the machine is."""
    return Statistics(clock=ManualClock())


def current_minute(database: Database) -> datetime:
    minute: datetime = database.one("SELECT date_trunc('minute', now())")
    return minute


def test_finished_attempts_are_counted_by_minute_queue_type_and_outcome(database: Database) -> None:
    minute = current_minute(database) - timedelta(minutes=5)
    for second, columns in enumerate(
        [{}, {}, {"outcome": "failed"}, {"queue": "mail"}, {"type": "other"}, {"outcome": "lost"}]
    ):
        database.add_execution(second, minute + timedelta(seconds=9 * second), **columns)
    database.add_execution(9, minute + timedelta(seconds=60))
    counting().work(database.connection)
    assert database.all(SUMS) == [
        (minute, "default", "other", "succeeded", 1),
        (minute, "default", "t", "failed", 1),
        (minute, "default", "t", "lost", 1),
        (minute, "default", "t", "succeeded", 2),
        (minute, "mail", "t", "succeeded", 1),
        (minute + timedelta(minutes=1), "default", "t", "succeeded", 1),
    ]


def test_a_queue_whose_tasks_never_wait_gets_a_row_and_one_that_was_deleted_stays_so(database: Database) -> None:
    loop, minute = counting(), current_minute(database) - timedelta(minutes=1)
    names = "SELECT name FROM taskflow.queues WHERE name <> 'default' ORDER BY name"
    database.add_execution(1, minute, queue="mail")
    database.add_execution(2, minute, queue="export", outcome="failed")
    loop.work(database.connection)
    assert database.all(names) == ["export", "mail"]
    database.connection.execute("DELETE FROM taskflow.queues WHERE name = 'mail'")
    database.add_execution(3, minute, queue="mail")  # counted late, in a row that there is
    loop.work(database.connection)
    assert database.all(names) == ["export"]
    database.add_execution(4, minute + timedelta(minutes=1), queue="mail")
    loop.work(database.connection)
    assert database.all(names) == ["export", "mail"]


def test_counting_again_replaces_and_a_row_that_committed_late_is_found(database: Database) -> None:
    loop = counting()
    minute = current_minute(database) - timedelta(minutes=1)
    database.add_execution(1, minute)
    loop.work(database.connection)
    loop.work(database.connection)
    database.add_execution(2, minute)
    loop.work(database.connection)
    assert database.all(SUMS) == [(minute, "default", "t", "succeeded", 2)]


def test_after_a_downtime_a_day_is_caught_up_and_no_more(database: Database) -> None:
    current = current_minute(database)
    missed = [current - CATCH_UP + timedelta(minutes=2), current - timedelta(hours=5), current]
    database.make_day("executions", (current - timedelta(days=2)).date())
    for task, minute in enumerate([current - CATCH_UP - timedelta(minutes=5), *missed]):
        database.add_execution(task, minute)
    database.one(
        "INSERT INTO taskflow.task_stats VALUES (%s, 'q', 't', 'succeeded', 1, 1, '{}') RETURNING 1",
        current - timedelta(days=3),
    )
    loop, rounds = Statistics(), 0
    while loop.final is None:
        loop.work(database.connection)
        rounds += 1
    assert rounds < 100
    assert [row[0] for row in database.all(SUMS)][1:] == missed


def test_catching_up_goes_on_where_the_last_leader_stopped(database: Database) -> None:
    current = current_minute(database)
    old, recent = current - timedelta(hours=3), current - timedelta(hours=2)
    for task, minute in enumerate([old, recent]):
        database.add_execution(task, minute)
    database.one(
        "INSERT INTO taskflow.task_stats VALUES (%s, 'x', 't', 'succeeded', 1, 1, '{}') RETURNING 1",
        old + LATE + timedelta(minutes=1),
    )
    counting().work(database.connection)
    assert [row[0] for row in database.all(SUMS) if row[1] == "default"] == [recent]


def test_much_to_count_is_spread_over_rounds_and_each_is_followed_by_a_rest(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskflow.store import statistics

    counted: list[datetime] = []

    def slow(_connection: object, start: datetime, _end: datetime) -> int:
        counted.append(start)
        clock.advance(ROUND_SECONDS + 1)
        return 0

    monkeypatch.setattr(statistics, "roll_up", slow)
    database.one(
        "INSERT INTO taskflow.task_stats VALUES (%s, 'x', 't', 'succeeded', 1, 1, '{}') RETURNING 1",
        current_minute(database) - timedelta(minutes=5),
    )
    loop = Statistics(clock=clock)
    delays = [loop.work(database.connection) for _ in range(8)]
    assert counted == [counted[0] + n * timedelta(minutes=1) for n in range(8)]
    assert delays[0] == pytest.approx(CATCH_UP_REST * (ROUND_SECONDS + 1))
    assert delays[-1] >= 20 * ROUND_SECONDS


def test_minutes_left_behind_by_a_clock_that_was_ahead_do_not_stop_the_counting(database: Database) -> None:
    current = current_minute(database)
    database.one(
        "INSERT INTO taskflow.task_stats VALUES (%s, 'x', 't', 'succeeded', 1, 1, '{}') RETURNING 1",
        current + timedelta(hours=1),
    )
    database.add_execution(1, current - timedelta(minutes=3))
    counting().work(database.connection)
    assert (current - timedelta(minutes=3), "default", "t", "succeeded", 1) in database.all(SUMS)


def test_a_clock_that_is_set_back_does_not_stop_the_counting(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from taskflow.store import statistics

    current = current_minute(database)
    ahead = iter([current + timedelta(hours=1), current])
    monkeypatch.setattr(statistics, "rolled_up_until", lambda _connection: (next(ahead), None))
    loop = counting()
    loop.work(database.connection)
    database.add_execution(1, current)
    loop.work(database.connection)
    assert database.all(SUMS) == [(current, "default", "t", "succeeded", 1)]


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(-1, 1), (0, 1), (0.00099, 1), (0.001, 2), (0.0015, 2), (1, 11), (9999, 22), (10000, 23)]
)
def test_a_duration_has_its_bucket(database: Database, seconds: float, bucket: int) -> None:
    assert database.one("SELECT taskflow.duration_bucket(%s)", seconds) == bucket


def test_the_bounds_that_are_documented_are_those_that_are_used(database: Database) -> None:
    assert database.all(
        "SELECT taskflow.duration_bucket(b) FROM unnest(taskflow.duration_bounds()) AS b ORDER BY b"
    ) == list(range(2, 24))


def test_durations_are_summed_and_spread_over_the_buckets_and_a_clock_set_back_counts_as_nothing(
    database: Database,
) -> None:
    end = current_minute(database) - timedelta(minutes=1)
    for task, seconds in enumerate([0, 0.0015, 0.0015, 1, 20000, -3600]):
        database.add_execution(task, end, started_at=end - timedelta(seconds=seconds))
    counting().work(database.connection)
    total, buckets = database.one("SELECT duration_seconds, duration_buckets FROM taskflow.task_stats")
    assert total == pytest.approx(20001.003)
    assert len(buckets) == 23
    assert {place: n for place, n in enumerate(buckets, start=1) if n} == {1: 2, 2: 2, 11: 1, 23: 1}


def test_what_has_had_its_time_is_removed_and_the_rest_stays(database: Database) -> None:
    database.connection.execute("INSERT INTO taskflow.queues (name, rate_period) VALUES ('slow', 86400)")
    for age in ("1 minute", "23 hours", "25 hours", "80 hours", "89 days", "91 days"):
        database.connection.execute(
            "INSERT INTO taskflow.idempotency_keys (scope, key, request_hash, created_at)"
            " VALUES ('s', %s, '', now() - %s::interval)",
            (age, age),
        )
        database.connection.execute(
            "INSERT INTO taskflow.rate_windows VALUES ('slow', '', now() - %s::interval, 1)", (age,)
        )
        database.connection.execute(
            "INSERT INTO taskflow.task_stats VALUES (now() - %s::interval, 'q', 't', 'succeeded', 1, 1, '{}')", (age,)
        )
    Expiry().work(database.connection)
    assert database.all("SELECT key FROM taskflow.idempotency_keys ORDER BY created_at DESC") == [
        "1 minute",
        "23 hours",
    ]
    assert database.one("SELECT count(*) FROM taskflow.rate_windows") == 3
    assert database.one("SELECT count(*) FROM taskflow.task_stats") == 5


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ("rate_period = 1", 0),
        ("""type_limits = '{"t": {"rate_limit": 1, "rate_period": 2592000}, "u": {"paused": true}}'""", 1),
        ("rate_period = 1e300", 1),
        ("rate_period = 'NaN'", 1),
        ("""type_limits = '{"t": {"rate_limit": 1, "rate_period": 1e400}}'""", 1),
        ("""type_limits = '{"t": {"rate_limit": 1, "rate_period": null}}'""", 0),
    ],
)
def test_starts_are_kept_for_the_longest_period_of_a_queue_or_type_however_long(
    database: Database, settings: str, kept: int
) -> None:
    database.connection.execute(f"UPDATE taskflow.queues SET {settings}")
    database.connection.execute(
        "INSERT INTO taskflow.rate_windows VALUES ('default', 't', now() - interval '29 days', 1)"
    )
    database.connection.execute(
        "INSERT INTO taskflow.idempotency_keys (scope, key, request_hash, created_at)"
        " VALUES ('s', 'k', '', now() - interval '2 days')"
    )
    Expiry().work(database.connection)
    assert database.one("SELECT count(*) FROM taskflow.rate_windows") == kept
    assert database.one("SELECT count(*) FROM taskflow.idempotency_keys") == 0


def test_expiry_takes_small_batches_and_comes_back_at_once_for_more(database: Database) -> None:
    database.connection.execute(
        "INSERT INTO taskflow.rate_windows"
        " SELECT 'q', '', now() - n * interval '1 day', 1 FROM generate_series(1, 25000) n"
    )
    loop = Expiry()
    assert loop.work(database.connection) == 0
    assert database.one("SELECT count(*) FROM taskflow.rate_windows") == 5000
    assert loop.work(database.connection) > 0
    assert database.one("SELECT count(*) FROM taskflow.rate_windows") == 0
