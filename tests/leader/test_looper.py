from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from taskflow.errors import DatabaseUnavailable
from taskflow.leader import looper
from taskflow.leader.looper import Connection, Fatal, Loop, Looper, Pause
from taskflow.store.migrate import migrate
from tests.leader.conftest import Database, wait_until


class Recorder(Loop):
    """A loop that counts, and does at each round what `action` says."""

    def __init__(self, name: str, action: Callable[[Connection], float] = lambda _: 0.01) -> None:
        self.name = name
        self.begun = self.ended = self.rounds = 0
        self._action = action

    def begin(self, connection: Connection) -> None:
        self.begun += 1

    def work(self, connection: Connection) -> float:
        self.rounds += 1
        return self._action(connection)

    def end(self, connection: Connection) -> None:
        self.ended += 1


class Runner:
    """Starts loopers and sees that none outlives its test."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._loopers: list[Looper] = []

    def __call__(self, *loops: Loop, dsn: str | None = None, wanted: Callable[[], bool] = lambda: True) -> Looper:
        looper = Looper("test", dsn or self._dsn, loops, wanted=wanted)
        self._loopers.append(looper)
        looper.start()
        return looper

    def stop(self) -> None:
        assert all(looper.stop(5) for looper in self._loopers)


@pytest.fixture
def run(dsn: str) -> Iterator[Runner]:
    runner = Runner(dsn)
    yield runner
    runner.stop()


def fail(_connection: Connection) -> float:
    raise RuntimeError("no luck")


def test_a_loop_that_fails_is_repeated_with_a_reason_and_disturbs_no_other(run: Runner) -> None:
    good, bad = Recorder("good"), Recorder("bad", fail)
    with capture_logs() as logs:
        run(good, bad)
        wait_until(lambda: bad.rounds >= 2 and good.rounds >= 20)
    assert (good.begun, bad.begun) == (1, 1)
    assert {(item["event"], item["loop"], item["reason"]) for item in logs} == {
        ("leader_loop_failed", "bad", "no luck")
    }


def test_a_statement_that_fails_costs_no_connection(run: Runner) -> None:
    def divide(connection: Connection) -> float:
        with connection.transaction():
            connection.execute("SELECT 1 / 0")
        return 0.0

    good, bad = Recorder("good", lambda c: float(c.execute("SELECT 0.01").fetchone()[0])), Recorder("bad", divide)
    run(bad, good)
    wait_until(lambda: bad.rounds >= 2 and good.rounds >= 10)
    assert good.begun == 1


def test_a_lost_connection_is_replaced_and_every_loop_begins_anew(run: Runner, database: Database) -> None:
    pids: list[int] = []

    def remember(connection: Connection) -> float:
        pids.append(connection.execute("SELECT pg_backend_pid()").fetchone()[0])
        return 0.01

    first, second = Recorder("first", remember), Recorder("second")
    run(first, second)
    wait_until(lambda: pids)
    database.one("SELECT pg_terminate_backend(%s)", pids[0])
    wait_until(lambda: first.begun == 2 and second.begun == 2 and len(set(pids)) == 2)


def test_why_the_server_closed_the_connection_is_logged_also_when_it_was_said_between_two_statements(
    run: Runner, database: Database
) -> None:
    def work(connection: Connection) -> float:
        database.one("SELECT pg_terminate_backend(%s, 5000)", connection.info.backend_pid)
        connection.pgconn.consume_input()
        connection.pgconn.notifies()  # has what was read looked at: a notice, since nothing is asked for
        connection.execute("SELECT 1")
        return 0.01

    with capture_logs() as logs:
        run(Recorder("unlucky", work))
        wait_until(lambda: any(item["event"] == "database_unavailable" for item in logs))
    reason = next(item["error"] for item in logs if item["event"] == "database_unavailable")
    assert reason.startswith("terminating connection due to administrator command; ")


def test_a_server_that_has_become_read_only_is_left(run: Runner, database: Database) -> None:
    def write(connection: Connection) -> float:
        if loop.rounds == 1:
            connection.execute("SET default_transaction_read_only = on")
        connection.execute("CREATE TABLE IF NOT EXISTS public.written ()")
        return 0.01

    loop = Recorder("writer", write)
    run(loop)
    wait_until(lambda: loop.begun >= 2 and database.one("SELECT to_regclass('written')"))


def test_no_database_means_patience_and_a_reason(run: Runner, tmp_path: object) -> None:
    loop = Recorder("loop")
    with capture_logs() as logs:
        run(loop, dsn=f"postgresql://nobody@/none?host={tmp_path}")
        wait_until(lambda: logs)
    assert loop.begun == 0
    assert logs[0]["event"] == "database_unavailable"
    assert "cannot be reached" in logs[0]["error"]


class Door:
    """The looper's way to the database, which can be shut; `tries` counts who knocks. No pause between two tries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shut = False
        self.tries = 0
        self._connect = looper.connect
        monkeypatch.setattr(looper, "connect", self)
        monkeypatch.setattr(looper, "_backoff", lambda *_: 0.01)

    def __call__(self, *arguments: Any, **options: Any) -> Connection:
        self.tries += 1
        if self.shut:
            raise DatabaseUnavailable("PostgreSQL cannot be reached: shut")
        return self._connect(*arguments, **options)


def told(logs: Sequence[MutableMapping[str, Any]]) -> list[tuple[str, str | None]]:
    return [(item["event"], item.get("error", item.get("reason"))) for item in logs]


def test_an_outage_is_one_line_when_it_begins_and_one_when_it_ends(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, loop = Door(monkeypatch), Recorder("loop")
    door.shut = True
    with capture_logs() as logs:
        run(loop)
        wait_until(lambda: door.tries >= 5)
        door.shut = False
        wait_until(lambda: loop.rounds >= 3)
    assert told(logs) == [
        ("database_unavailable", "PostgreSQL cannot be reached: shut"),
        ("database_back", None),
    ]


def test_an_outage_is_over_as_well_for_who_does_not_lead(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(_connection: Connection) -> float:
        raise Pause(0.01)

    door, loop = Door(monkeypatch), Recorder("loop", follow)
    door.shut = True
    with capture_logs() as logs:
        run(loop)
        wait_until(lambda: door.tries >= 2)
        door.shut = False
        wait_until(lambda: loop.rounds >= 2)
    assert [event for event, _ in told(logs)] == ["database_unavailable", "database_back"]


def test_before_the_schema_is_there_its_absence_is_said_once_and_nothing_is_asked_of_it(
    run: Runner, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    door, loop = Door(monkeypatch), Recorder("loop")
    with capture_logs() as logs:
        run(loop, dsn=empty_dsn)
        wait_until(lambda: door.tries >= 4)
        assert loop.begun == 0
        migrate(empty_dsn)
        wait_until(lambda: loop.rounds)
    (first, reason), *others = told(logs)
    assert (first, others) == ("database_refuses", [("database_back", None)])
    assert "has no taskflow schema yet. Run `taskflow migrate`" in str(reason)


def test_a_loop_that_goes_on_failing_is_logged_once_for_each_reason_and_when_it_works_again(
    run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looper, "_backoff", lambda *_: 0.01)

    def work(_connection: Connection) -> float:
        if loop.rounds <= 6:
            raise RuntimeError("first" if loop.rounds <= 3 else "second")
        return 0.01

    loop = Recorder("unsteady", work)
    with capture_logs() as logs:
        run(loop)
        wait_until(lambda: loop.rounds >= 9)
    assert told(logs) == [
        ("leader_loop_failed", "first"),
        ("leader_loop_failed", "second"),
        ("leader_loop_works_again", None),
    ]


def test_a_pause_closes_the_connection_until_it_is_over(run: Runner, database: Database) -> None:
    def pause(_connection: Connection) -> float:
        raise Pause(0.2)

    loop = Recorder("pausing", pause)
    run(loop)
    wait_until(
        lambda: (
            loop.rounds >= 1
            and not database.one("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskflow test'")
        )
    )
    wait_until(lambda: loop.begun >= 3)
    assert loop.ended >= 2


def test_a_fatal_failure_of_one_loop_ends_the_turns_of_all(run: Runner) -> None:
    def give_up(_connection: Connection) -> float:
        raise Fatal from psycopg.errors.InsufficientPrivilege("permission denied")

    vital, other = Recorder("vital", give_up), Recorder("other")
    with capture_logs() as logs:
        run(vital, other)
        wait_until(lambda: vital.rounds >= 2)
    assert other.rounds == 0
    assert logs[0]["error"].startswith("permission denied")


def test_loops_rest_while_they_are_not_wanted(run: Runner) -> None:
    wanted = threading.Event()
    loop = Recorder("loop")
    run(loop, wanted=wanted.is_set)
    wanted.set()
    wait_until(lambda: loop.rounds)
    wanted.clear()
    wait_until(lambda: loop.ended == 1)
    rounds = loop.rounds
    wanted.set()
    wait_until(lambda: loop.rounds > rounds and loop.begun == 2)


def test_stopping_cancels_a_statement_that_would_wait_for_hours(run: Runner) -> None:
    started = threading.Event()

    def hang(connection: Connection) -> float:
        started.set()
        connection.execute("SELECT pg_sleep(3600)")
        return 0.0

    loop = Recorder("hanging", hang)
    looper = run(loop)
    assert started.wait(10)
    before = time.monotonic()
    assert looper.stop(5)
    assert time.monotonic() - before < 2
    assert loop.ended == 1
