"""The filter language: what each condition finds, and what is said about one that cannot be read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskflow.errors import FilterTooBroad, InvalidFilter
from taskflow.store import filters
from taskflow.store.events import observe
from taskflow.tasks.task import STATES


def found(connection: psycopg.Connection[Any], text: str, relation: str = "tasks") -> list[int]:
    state = "stored_state" if relation == "task_list" else "state"
    condition = filters.parse(text).condition("t", state=state)
    rows = connection.execute(
        f"SELECT t.id FROM taskflow.{relation} t WHERE {condition.sql} ORDER BY t.id", condition.parameters
    )
    return [row[0] for row in rows]


class Fill:
    """Inserts tasks in any state."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection

    def __call__(self, state: str = "pending", **columns: Any) -> int:
        if state not in ("pending", "retrying", "running", "blocked"):
            columns.setdefault("finished_at", datetime.now(UTC))
        if state == "running":
            columns.update(worker_id=columns.get("worker_id", 3), claimed_at=datetime.now(UTC))
        if state == "retrying":
            columns.setdefault("failures", 1)
        if state == "blocked":
            columns = {"concurrency_key": "held", "key_state": "blocked", **columns}
        columns = {"type": "echo", "state": state, **columns}
        columns = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in columns.items()}
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        row = self.connection.execute(
            f"INSERT INTO taskflow.tasks ({names}) VALUES ({marks}) RETURNING id", list(columns.values())
        ).fetchone()
        assert row is not None
        if state == "running":
            self.connection.execute("SELECT taskflow.record_claims()")
        return int(row[0])


@pytest.fixture
def fill(connection: psycopg.Connection[Any]) -> Fill:
    return Fill(connection)


def ago(**distance: float) -> datetime:
    return datetime.now(UTC) - timedelta(**distance)


def test_every_state_that_people_see_is_found_by_its_name_and_no_other(
    connection: psycopg.Connection[Any], fill: Fill
) -> None:
    ahead = ago(hours=-1)
    tasks = {
        "pending": [fill(), fill("retrying")],
        "scheduled": [fill(run_at=ahead)],
        "retrying": [fill("retrying", run_at=ahead)],
        **{state: [fill(state)] for state in ("running", "blocked", "completed", "cancelled", "failed", "dead_letter")},
    }

    assert set(tasks) == set(STATES)
    for state, ids in tasks.items():
        assert found(connection, f"state:{state}") == ids
    assert found(connection, "state:scheduled,retrying") == tasks["scheduled"] + tasks["retrying"]
    assert found(connection, "state:pending,scheduled") == sorted(tasks["pending"] + tasks["scheduled"])
    assert found(connection, "state:pending,retrying,scheduled") == sorted(
        tasks["pending"] + tasks["scheduled"] + tasks["retrying"]
    )
    shown = connection.execute("SELECT id, state FROM taskflow.task_list ORDER BY id").fetchall()
    assert sorted((task_id, state) for state, ids in tasks.items() for task_id in ids) == shown


def test_a_transaction_that_began_earlier_sees_as_pending_what_has_become_due_since(
    connection: psycopg.Connection[Any], dsn: str, fill: Fill
) -> None:
    with psycopg.connect(dsn) as earlier:
        earlier.execute("SELECT now()")
        tasks = [fill(), fill("retrying")]

        assert found(earlier, "state:pending") == tasks
        assert found(earlier, "state:scheduled,retrying") == []
        assert earlier.execute("SELECT DISTINCT state FROM taskflow.task_list").fetchall() == [("pending",)]
        assert earlier.execute("SELECT state FROM taskflow.task_status(%s)", tasks[:1]).fetchall() == [("pending",)]
        assert earlier.execute("SELECT state, count FROM taskflow.live_counts()").fetchall() == [("pending", 2)]
        assert [task.state for task in observe(earlier, [(tasks[0], tasks[0])], 1)] == ["pending"]


@pytest.mark.parametrize(
    ("alias", "state"),
    [
        ("queued", "pending"), ("processing", "running"), ("success", "completed"), ("done", "completed"),
        ("dead", "dead_letter"), ("canceled", "cancelled"), ("COMPLETED", "completed"),
    ],
)  # fmt: skip
def test_older_names_of_states_are_understood(alias: str, state: str) -> None:
    assert filters.parse(f"state:{alias}") == filters.parse(f"state:{state}")


@pytest.mark.parametrize("relation", ["tasks", "task_list"])
def test_each_condition_finds_the_task_that_fits_and_leaves_the_other(
    connection: psycopg.Connection[Any], fill: Fill, relation: str
) -> None:
    fill("failed", type="other", finished_at=ago(days=1), created_at=ago(days=2), run_at=ago(days=1))
    wanted = fill(
        "running",
        type="mail",
        queue="q:1",
        priority=2,
        metadata={"user": 7, "a.b": {"c": True}},
        payload={"to": "a@b", "list": [{"n": "x y"}]},
        error="Connection TIMEOUT after 5 s",
        worker_id=3,
        tags=["red", "blue"],
        unique_key="u-1",
        concurrency_key="k,1",
        schedule_id=4,
        attempt=2,
        failures=1,
        updated_at=ago(minutes=30),
        started_at=ago(minutes=20),
        run_at=ago(hours=-2),
    )
    conditions = [
        "type:mail", "type:mail,x", "queue:q:1", "priority:high", "priority:2", "priority:>=high", "metadata.user:7",
        'metadata."a.b".c:true', 'payload.to:"a@b"', "payload.to:a@b", 'payload.list.0.n:"x y"', "error:timeout",
        "error:nothing,timeout", "worker:3", "worker_id:3", "tag:red", "tags:green,blue", "unique_key:u-1",
        'concurrency_key:"k,1"', "schedule:4", "attempt:2", "attempt:>1", "failures:1..3", f"id:{wanted}",
        f"id:{wanted}..", f"id:..5,{wanted},99 worker:3", f"id:>={wanted}", "created:<1h", "created:..1h",
        "updated:10m..1h", "updated:>29m", "started:<1h", "scheduled:<3h scheduled:>0s", "scheduled:>1h",
        "scheduled:1h..3h", "created:>2020-01-01 worker:3", "created:2020-01-01.. worker:3",
        "created_by:postgres worker:3", "",
    ]  # fmt: skip
    for text in conditions:
        ids = found(connection, text, relation)
        assert wanted in ids, text
        if text:
            assert ids == [wanted], text


def test_conditions_hold_all_together(connection: psycopg.Connection[Any], fill: Fill) -> None:
    first, second = fill(type="a", queue="x"), fill(type="b", queue="x")
    assert found(connection, "queue:x type:a") == [first]
    assert found(connection, "  queue:x\ttype:a,b \n") == [first, second]
    assert found(connection, "queue:y type:a") == []


def test_a_date_is_that_day_in_utc_with_both_ends(connection: psycopg.Connection[Any], fill: Fill) -> None:
    def at(text: str) -> int:
        return fill(created_at=datetime.fromisoformat(text))

    before, first = at("2026-01-30T23:59:59.999999Z"), at("2026-01-31T00:00:00Z")
    last, after = at("2026-01-31T23:59:59.999999Z"), at("2026-02-01T00:00:00Z")

    assert found(connection, "created:2026-01-31") == [first, last]
    assert found(connection, "created:2026-01-31,2026-02-01") == [first, last, after]
    assert found(connection, "created:2026-01-30..2026-01-31") == [before, first, last]
    assert found(connection, "created:<2026-01-31") == [before]
    assert found(connection, "created:<=2026-01-31") == [before, first, last]
    assert found(connection, "created:>2026-01-31") == [after]
    assert found(connection, "created:>=2026-01-31") == [first, last, after]
    assert found(connection, "created:>2026-01-31T00:00:00Z") == [last, after]
    assert found(connection, "created:2026-01-31T00:00:00Z") == [first]
    assert found(connection, "created:2026-01-31T01:00:00+01:00") == [first]
    assert found(connection, "created:..2026-01-31T00:00:00Z") == [before, first]


def test_an_age_counts_back_from_now_on_the_clock_of_the_database(
    connection: psycopg.Connection[Any], fill: Fill
) -> None:
    young, middle, old = (fill(created_at=ago(minutes=minutes)) for minutes in (5, 90, 600))

    assert found(connection, "created:<1h") == [young]
    assert found(connection, "created:>1h") == [middle, old]
    assert found(connection, "created:1h..2h") == [middle]
    assert found(connection, "created:2h..1h") == []
    assert found(connection, "created:>1h40m created:<1d") == [old]
    assert found(connection, "created:1h..") == [middle, old]


def test_what_a_client_writes_is_only_ever_a_parameter(connection: psycopg.Connection[Any], fill: Fill) -> None:
    evil = "x'; DROP TABLE taskflow.tasks; --%s%(f0)s:f0"
    wanted = fill(type=evil, metadata={evil: evil}, payload={"a": {'"': "\\"}})
    fill()

    assert found(connection, f"type:{filters.quote(evil)}") == [wanted]
    assert found(connection, f"metadata.{filters.quote(evil)}:{filters.quote(evil)}") == [wanted]
    assert found(connection, r'payload.a."\"":"\\"') == [wanted]
    condition = filters.parse(f"error:{filters.quote(evil)} tag:{filters.quote(evil)}").condition()
    assert "DROP" not in condition.sql


def test_a_quoted_value_has_no_operators(connection: psycopg.Connection[Any], fill: Fill) -> None:
    wanted = fill(type="a..b", queue="default")
    assert found(connection, 'type:"a..b"') == found(connection, "type:a..b") == [wanted]
    with pytest.raises(InvalidFilter):
        filters.parse('id:"1..2"')


@pytest.mark.parametrize(
    ("text", "position", "way_out"),
    [
        ("typ:x", 1, "did you mean type?"),
        ("xyzzy:x", 1, "the fields are state, type"),
        ("type:a mail", 8, "type:mail"),
        ("type:a :x", 8, "write field:value"),
        ("state:completed,fail", 17, "completed, failed, cancelled"),
        ("type:", 6, 'an empty one is written ""'),
        ("type:a,", 8, "a value is missing"),
        ('type:"a', 6, "the quote is not closed"),
        ('type:"a"b', 9, "a space is missing"),
        ("payload:1", 1, "payload.KEY:VALUE"),
        ("queue.x:1", 1, "queue:1"),
        ("payload.:1", 9, "a key is missing"),
        ("id:x", 4, "5..9"),
        ("id:9..5", 4, "the larger number comes last"),
        ("id:..", 4, "5..9, 5.. or ..9"),
        ("id:5..x", 7, "is no number"),
        ("id:<", 5, "a value is missing"),
        ("id:" + "9" * 30, 4, "9223372036854775807"),
        ("attempt:2147483648", 9, "2147483647"),
        ("worker:\u0663", 8, "is no number"),
        ("priority:urgent", 10, "low, normal, high, critical"),
        ("created:1h", 9, "write <1h or >1h"),
        ("created:tomorrow", 9, "an age such as 1h"),
        ("created:2026-02-30", 9, "is no time"),
        ("created:<99999999w", 10, "hundred years"),
        ("created:0001-01-01", 9, "1900"),
        ("created:9999-12-31", 9, "2200"),
        ("created:>9999-12-31T23:59:59-12:00", 10, "is no time"),
        ("state:failed state:completed", 14, "state:a,b"),
        ("type:a\x00", 7, "character"),
        ("type:\ud800", 6, "character"),
        ("x" * 2001, 2000, "2,000"),
        ("id:" + ",".join(["1"] * 201), 404, "200 values"),
        ("tag:a " * 31, 181, "30 conditions"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place_and_a_way_out(text: str, position: int, way_out: str) -> None:
    with pytest.raises(InvalidFilter) as raised:
        filters.parse(text)
    assert raised.value.position == position
    assert way_out in str(raised.value)
    assert f"at character {position} " in str(raised.value)


@pytest.mark.parametrize(
    "text",
    ["payload.a:1", "metadata.a:1 type:x", "error:x state:failed,pending", "error:x created:>1d", "payload.a:1 id:..9",
     "metadata.a:1 priority:high queue:x"],
)  # fmt: skip
def test_the_content_of_all_history_is_too_much(text: str) -> None:
    with pytest.raises(FilterTooBroad, match="time range"):
        filters.parse(text).check_breadth()


@pytest.mark.parametrize(
    "text",
    ["payload.a:1 created:<1d", "error:x completed:2026-01-01..2026-01-02", "error:x state:dead_letter",
     "metadata.a:1 state:pending,scheduled,running", "payload.a:1 id:5..9", "state:completed", "type:x", "",
     "payload.a:1 id:7", "payload.a:1 id:7,9,11"],
)  # fmt: skip
def test_what_is_bounded_may_be_searched(text: str) -> None:
    filters.parse(text).check_breadth()


def test_filters_combine_to_what_fits_all_of_them(connection: psycopg.Connection[Any], fill: Fill) -> None:
    wanted = fill("failed", type="a")
    fill("failed", type="b")
    fill(type="a")
    both = filters.combine([filters.parse("state:failed,pending type:a"), filters.parse("state:failed")])
    condition = both.condition()

    assert both.stored_states == {"failed"}
    rows = connection.execute(f"SELECT t.id FROM taskflow.tasks t WHERE {condition.sql}", condition.parameters)
    assert rows.fetchall() == [(wanted,)]


def test_a_filter_says_which_states_and_times_it_can_reach() -> None:
    assert filters.parse("state:pending").stored_states == {"pending", "retrying"}
    assert filters.parse("state:scheduled,done").stored_states == {"pending", "completed"}
    assert filters.parse("created:<1h").since == timedelta(hours=-1)
    assert filters.parse("completed:2026-01-01..").since == datetime(2026, 1, 1, tzinfo=UTC)
    assert filters.parse("created:>1h").since is None
    assert filters.parse("scheduled:<1h").since is None


def test_placeholders_are_what_the_driver_wants() -> None:
    assert filters.parse("type:a").condition("x", placeholder=":{}".format).sql == "x.type = CAST(:f0 AS text)"
