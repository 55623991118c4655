from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from taskflow.leader.rescuer import Rescuer
from tests.leader.conftest import Database, ManualClock

TIMEOUT = 30.0


@pytest.fixture
def rescuer(database: Database, clock: ManualClock) -> Rescuer:
    rescuer = Rescuer(TIMEOUT, clock=clock)
    rescuer.begin(database.connection)
    return rescuer


def look_for(rescuer: Rescuer, database: Database, clock: ManualClock, seconds: float) -> None:
    """Let the rescuer do its rounds for so long."""
    end = clock.now + seconds
    while clock.now < end:
        clock.advance(min(5.0, end - clock.now))
        rescuer.work(database.connection)


def running(database: Database) -> int:
    return int(database.one("SELECT count(*) FROM taskflow.tasks WHERE state = 'running'"))


def test_a_worker_that_falls_silent_loses_its_tasks_after_the_timeout_and_not_before(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue(3)
    worker = database.register()
    tasks = database.claim(worker, 3)
    database.one("SELECT taskflow.heartbeat(%s, 0, %s, '{1}', '{0}')", worker, [tasks[0][0]])
    rescuer.work(database.connection)

    look_for(rescuer, database, clock, TIMEOUT - 1)
    assert running(database) == 3
    look_for(rescuer, database, clock, 1)

    assert running(database) == 0
    assert database.all("SELECT attempt, outcome::text FROM taskflow.executions") == [(1, "lost")] * 3
    charged = database.one("SELECT failures, losses FROM taskflow.tasks WHERE id = %s", tasks[0][0])
    spared = database.one("SELECT failures, losses FROM taskflow.tasks WHERE id = %s", tasks[1][0])
    assert (charged, spared) == ((1, 1), (0, 1))
    assert database.one("SELECT count(*) FROM taskflow.workers") == 0


def test_what_runs_without_a_claim_is_looked_for_twice(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue(2)
    worker = database.register()
    claims = "SELECT count(*) FROM taskflow.claims"

    def lose_claims(tasks: int) -> None:
        database.claim(worker, tasks)
        database.connection.execute("DELETE FROM taskflow.claims")

    lose_claims(1)
    rescuer.work(database.connection)
    assert database.one(claims) == 1
    lose_claims(1)
    look_for(rescuer, database, clock, TIMEOUT - 5)
    assert database.one(claims) == 0
    look_for(rescuer, database, clock, 60 + TIMEOUT)
    assert running(database) == 0  # the worker has never beaten, and both are found
    assert database.one("SELECT count(*) FROM taskflow.executions WHERE outcome = 'lost'") == 2


def test_a_leader_that_may_not_record_claims_rescues_all_the_same(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue()
    database.claim(database.register(), 1)
    database.connection.execute("ALTER FUNCTION taskflow.record_claims RENAME TO not_there")
    with capture_logs() as logs:
        look_for(rescuer, database, clock, TIMEOUT + 5)
    assert [log["event"] for log in logs] == ["claims_not_recorded", "worker_lost"]
    assert running(database) == 0


def test_a_worker_that_beats_is_never_rescued(database: Database, rescuer: Rescuer, clock: ManualClock) -> None:
    database.enqueue()
    worker = database.register()
    database.claim(worker, 1)
    with capture_logs() as logs:
        for _ in range(10):
            look_for(rescuer, database, clock, TIMEOUT - 5)
            assert database.beat(worker)
    assert running(database) == 1
    assert logs == []


def test_a_rescued_worker_cannot_complete_its_old_attempt(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue()
    worker = database.register()
    tasks = database.claim(worker, 1)
    look_for(rescuer, database, clock, TIMEOUT + 10)

    assert database.complete(worker, tasks) == [(tasks[0][0], None)]
    assert not database.beat(worker)
    assert database.one("SELECT state::text FROM taskflow.tasks") == "pending"


def test_running_tasks_of_a_worker_without_a_row_are_rescued(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue(4)
    workers = [database.register() for _ in range(4)]
    for worker in workers:
        database.claim(worker, 1)
    for worker in (workers[0], workers[2], workers[3]):
        database.one("DELETE FROM taskflow.workers WHERE id = %s RETURNING 1", worker)
    rescuer.work(database.connection)
    while clock.now < 1000 + TIMEOUT:
        assert running(database) == 4
        assert database.beat(workers[1])
        look_for(rescuer, database, clock, 5)

    assert database.all("SELECT worker_id FROM taskflow.tasks WHERE state = 'running'") == [workers[1]]


@pytest.mark.parametrize("outage", [1.0, 10 * TIMEOUT])
def test_an_outage_starts_the_time_of_every_worker_anew(
    database: Database, rescuer: Rescuer, clock: ManualClock, outage: float
) -> None:
    database.enqueue()
    database.claim(database.register(), 1)
    look_for(rescuer, database, clock, TIMEOUT - 5)

    clock.advance(outage)
    with database.connect() as connection:  # the new connection after the outage
        rescuer.begin(connection)
        rescuer.work(connection)
    look_for(rescuer, database, clock, TIMEOUT - 5)
    assert running(database) == 1
    look_for(rescuer, database, clock, 5)
    assert running(database) == 0


@pytest.mark.parametrize("gap", [TIMEOUT / 2 + 1, 3600.0])
def test_a_rescuer_that_did_not_look_for_a_while_starts_anew(
    database: Database, rescuer: Rescuer, clock: ManualClock, gap: float
) -> None:
    """It was stopped, or its statement hung: the workers may have been hit by the same."""
    database.enqueue()
    database.claim(database.register(), 1)
    look_for(rescuer, database, clock, TIMEOUT - 5)
    clock.advance(gap)
    rescuer.work(database.connection)
    look_for(rescuer, database, clock, TIMEOUT - 5)
    assert running(database) == 1


def test_a_wall_clock_that_jumps_kills_nobody(database: Database, rescuer: Rescuer, clock: ManualClock) -> None:
    database.enqueue()
    worker = database.register()
    database.claim(worker, 1)
    for jump in ("- interval '1 hour'", "+ interval '1 hour'"):
        database.one(f"UPDATE taskflow.workers SET last_heartbeat = now() {jump} RETURNING 1")
        look_for(rescuer, database, clock, TIMEOUT - 10)
        assert database.beat(worker)
    assert running(database) == 1


def test_more_tasks_than_one_batch_are_all_rescued(database: Database, rescuer: Rescuer, clock: ManualClock) -> None:
    database.enqueue(1200)
    database.claim(database.register(), 1200)
    look_for(rescuer, database, clock, TIMEOUT + 5)
    assert running(database) == 0
    assert database.one("SELECT count(*) FROM taskflow.executions WHERE outcome = 'lost'") == 1200


def test_a_task_that_somebody_has_locked_does_not_stop_the_rescue_of_others(
    database: Database, rescuer: Rescuer, clock: ManualClock
) -> None:
    database.enqueue(2)
    first, second = database.register(), database.register()
    locked, free = database.claim(first, 1)[0][0], database.claim(second, 1)[0][0]
    with database.connect() as other, other.transaction():
        other.execute("SELECT FROM taskflow.tasks WHERE id = %s FOR UPDATE", (locked,))
        with capture_logs() as logs:
            look_for(rescuer, database, clock, TIMEOUT + 15)
        assert sorted((item["event"], item["worker_id"]) for item in logs) == [
            ("worker_lost", first),
            ("worker_lost", second),
        ]
        assert database.one("SELECT state::text FROM taskflow.tasks WHERE id = %s", free) == "pending"
        assert running(database) == 1
    look_for(rescuer, database, clock, 5)
    assert running(database) == 0
