"""Schedules that code defines: written at a worker's start, once, and not against an operator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from taskflow.errors import RegistrationError
from taskflow.store import schedules
from taskflow.tasks.registry import Registry, task
from taskflow.worker.recurring import Recurring, schedule_rows

Connection = psycopg.Connection[Any]


class Letter(BaseModel):
    to: str


def registered(**options: Any) -> Registry:
    """A registry with the types `report`, which has these options, and `other`."""
    registry = Registry()

    @task("report", registry=registry, **options)
    def report(payload: dict[str, Any]) -> None:
        pass

    @task("other", registry=registry)
    def other(payload: dict[str, Any]) -> None:
        pass

    return registry


def write(connection: Connection, registry: Registry, types: tuple[str, ...] = ("other", "report")) -> list[str]:
    """What a worker that serves these types says it has done."""
    with capture_logs() as logs:
        Recurring(registry, types).write(connection)
    return [str(log["event"]) for log in logs]


def rows(connection: Connection) -> list[dict[str, Any]]:
    return [row[0] for row in connection.execute("SELECT to_jsonb(s) FROM taskflow.schedules s ORDER BY name")]


def test_the_decorator_defines_a_schedule_with_the_options_of_its_type(connection: Connection) -> None:
    registry = registered(
        cron="0 7 * * 1-5",
        timezone="Europe/Berlin",
        overlap="skip",
        jitter=5,
        queue="q",
        priority="high",
        max_attempts=2,
    )
    assert write(connection, registry) == ["schedule_created"]
    (schedule,) = rows(connection)
    expected = {
        "name": "report", "type": "report", "queue": "q", "priority": 2, "cron": "0 7 * * 1-5", "interval": None,
        "timezone": "Europe/Berlin", "missed": "once", "overlap": "skip", "jitter": 5, "payload": {}, "enabled": True,
        "options": {"max_attempts": 2}, "next_run_at": None,
    }  # fmt: skip
    assert {name: schedule[name] for name in expected} == expected


def test_fifty_workers_that_start_at_once_write_it_once(connection: Connection, dsn: str) -> None:
    registry = registered(interval=60)

    def start(_: int) -> list[str]:
        with psycopg.connect(dsn, autocommit=True) as own:
            done = schedules.sync(own, schedule_rows(registry, registry.types()), registry.types())
        return [f"{name} {what}" for name, what in done]

    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(start, range(50)))
    assert [what for each in done for what in each] == ["report created"]
    assert len(rows(connection)) == 1


def test_what_an_operator_has_changed_stays_until_the_code_is_changed(connection: Connection) -> None:
    write(connection, registered(cron="0 7 * * *"))
    connection.execute("UPDATE taskflow.schedules SET cron = '0 8 * * *', enabled = false, next_run_at = now()")
    assert write(connection, registered(cron="0 7 * * *")) == []
    assert rows(connection)[0]["cron"] == "0 8 * * *"

    assert write(connection, registered(cron="0 9 * * *")) == ["schedule_changed"]
    (schedule,) = rows(connection)
    assert (schedule["cron"], schedule["next_run_at"], schedule["version"]) == ("0 9 * * *", None, 2)
    assert schedule["enabled"] is False, "a deploy does not resume what an operator has paused"


def test_a_schedule_that_the_code_drops_goes_and_that_of_another_service_stays(connection: Connection) -> None:
    write(connection, registered(interval=60))
    assert write(connection, registered(), types=("other",)) == []
    assert len(rows(connection)) == 1
    assert write(connection, registered()) == ["schedule_removed"]
    assert rows(connection) == []


def test_a_schedule_made_by_somebody_else_is_left_as_it_is(connection: Connection) -> None:
    connection.execute("INSERT INTO taskflow.schedules (name, type, interval) VALUES ('report', 'x', 5)")
    assert write(connection, registered(interval=60)) == ["schedule_name_taken"]
    assert write(connection, registered()) == []
    assert [(row["type"], row["interval"]) for row in rows(connection)] == [("x", 5)]


def test_a_connection_that_is_opened_anew_writes_nothing(connection: Connection) -> None:
    recurring = Recurring(registered(interval=60), ("report",))
    recurring.write(connection)
    connection.execute("DELETE FROM taskflow.schedules")
    recurring.write(connection)
    assert rows(connection) == []


def test_the_role_of_workers_may_write_them(connection: Connection) -> None:
    connection.execute("SET ROLE taskflow_worker")
    assert write(connection, registered(interval=60)) == ["schedule_created"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cron": "0 7 * *"}, "five"),
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": "5-5 * * * *"}, "begins where it ends"),
        ({"cron": "* * * * *", "interval": 5}, "either cron or interval"),
        ({"cron": "* * * * *", "timezone": "Europe/Bonn"}, "IANA"),
        ({"cron": 5}, "must be a text"),
        ({"interval": 0}, "more than 0"),
        ({"interval": 60, "missed": "never"}, "missed"),
        ({"interval": 60, "overlap": "wait"}, "overlap"),
        ({"timezone": "UTC"}, "give cron or interval too"),
    ],
)
def test_a_mistake_is_told_where_it_is_made(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(RegistrationError, match=reason):
        registered(**options)


def test_a_type_of_digits_cannot_recur_since_its_schedule_would_have_that_name() -> None:
    def handler(payload: dict[str, Any]) -> None:
        pass

    with pytest.raises(RegistrationError, match="name: must not be digits only"):
        task("27", registry=Registry(), interval=60)(handler)
    task("27", registry=Registry())(handler)


def test_a_handler_that_needs_a_payload_cannot_recur_without_one() -> None:
    with pytest.raises(RegistrationError, match="empty payload"):

        @task("letter", registry=Registry(), interval=60)
        def letter(payload: Letter) -> None:
            pass
