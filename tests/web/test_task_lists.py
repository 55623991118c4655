"""GET /tasks: which tasks, in which order, page by page, with the figures beside them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

from taskflow.web.tasks import task_pages, task_search
from tests.store.test_filters import Fill
from tests.web.conftest import Engine

SORTS = ["-id", "id", "-created_at", "scheduled_at", "-priority", "-completed_at"]


@pytest.fixture
def fill(connection: psycopg.Connection[Any]) -> Fill:
    return Fill(connection)


def ago(**distance: float) -> datetime:
    return datetime.now(UTC) - timedelta(**distance)


def listed(client: FlaskClient, **parameters: Any) -> Any:
    response = client.get("/api/v1/tasks", query_string=parameters)
    assert response.status_code == 200, response.json
    return response.json


def ids(client: FlaskClient, **parameters: Any) -> list[int]:
    return [int(task["id"]) for task in listed(client, **parameters)["tasks"]]


def pages(client: FlaskClient, limit: int, **parameters: Any) -> list[int]:
    """The ids of all pages, one after the other by cursor."""
    found: list[int] = []
    cursor: dict[str, str] = {}
    while True:
        page = listed(client, limit=limit, **parameters, **cursor)
        assert page["count"] == len(page["tasks"]) <= limit
        found += [int(task["id"]) for task in page["tasks"]]
        if page["next_cursor"] is None:
            return found
        assert page["count"] == limit
        cursor = {"cursor": page["next_cursor"]}


@pytest.fixture
def mixed(fill: Fill) -> list[int]:
    """Tasks in every state, with times and priorities that differ from the order of their ids."""
    states = ["pending", "completed", "retrying", "failed", "dead_letter", "running", "cancelled", "blocked"]
    made = []
    for number in range(40):
        state = states[number % len(states)]
        ended = {"finished_at": ago(minutes=number * 7 % 40)} if number % 8 in (1, 3, 4, 6) else {}
        made.append(
            fill(
                state,
                priority=number * 5 % 4,
                run_at=ago(minutes=number * 11 % 40 - 20),
                queue=f"q{number % 3}",
                **ended,
            )
        )
    return made


def expected(rows: list[Any], sort: str) -> list[int]:
    """The order by what the answers themselves say."""
    keys: dict[str, Callable[[Any], Any]] = {
        "-id": lambda task: -int(task["id"]),
        "id": lambda task: int(task["id"]),
        "-created_at": lambda task: -int(task["id"]),
        "scheduled_at": lambda task: (task["scheduled_at"], int(task["id"])),
        "-priority": lambda task: (-task["priority_value"], -int(task["id"])),
        "-completed_at": lambda task: (
            task["completed_at"] is None,
            -datetime.fromisoformat(task["completed_at"]).timestamp() if task["completed_at"] else 0,
            -int(task["id"]),
        ),
    }
    return [int(task["id"]) for task in sorted(rows, key=keys[sort])]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_show_every_task_once_and_in_order(client: FlaskClient, mixed: list[int], sort: str) -> None:
    everything = listed(client, limit=200)["tasks"]
    assert sorted(mixed) == sorted(int(task["id"]) for task in everything)

    assert pages(client, 7, sort=sort) == expected(everything, sort)
    assert ids(client, sort=sort, limit=200) == expected(everything, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_a_filter_holds_in_every_order(client: FlaskClient, mixed: list[int], sort: str) -> None:
    everything = [task for task in listed(client, limit=200)["tasks"] if task["queue"] == "q1"]
    assert pages(client, 4, sort=sort, q="queue:q1") == expected(everything, sort)


@pytest.mark.parametrize("sort", SORTS)
def test_the_windows_of_history_lose_nothing(
    client: FlaskClient, fill: Fill, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """What is rare in a long history is found in windows; here they are so small that all rules of them are used."""
    for name, value in {"WALKED_ROWS": 5, "FEW_ROWS": 0, "FIRST_IDS": 2, "MOST_IN_WINDOW": 3}.items():
        monkeypatch.setattr(task_search, name, value)
    monkeypatch.setattr(task_search, "FIRST_TIME", timedelta(milliseconds=10))
    monkeypatch.setattr(task_pages, "FEW_ROWS", 0)
    wanted = []
    for number in range(120):
        kind = "rare" if number % 17 == 0 or 40 < number < 60 else "common"
        same = number // 10
        task = fill(
            "completed" if number % 3 else "failed", type=kind, priority=number % 4, finished_at=ago(minutes=same)
        )
        wanted += [task] if kind == "rare" else []
    if sort == "scheduled_at":
        assert client.get("/api/v1/tasks", query_string={"sort": sort}).json["code"] == "filter_too_broad"
        return

    found = pages(client, 4, sort=sort, type="rare")

    assert sorted(found) == wanted
    assert found == expected(listed(client, limit=200, type="rare", sort=sort)["tasks"], sort)


def test_tasks_that_all_finished_in_one_moment_are_found(
    client: FlaskClient, connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WALKED_ROWS": 1, "FEW_ROWS": 0, "MOST_IN_WINDOW": 3}.items():
        monkeypatch.setattr(task_search, name, value)
    connection.execute(
        "INSERT INTO taskflow.tasks (type, state, finished_at)"
        " SELECT 'a', 'completed', now() FROM generate_series(1, 40)"
    )
    found = pages(client, 7, sort="-completed_at", type="a")
    assert found == sorted(found, reverse=True)
    assert len(found) == 40


def test_every_parameter_means_what_its_condition_does(client: FlaskClient, fill: Fill) -> None:
    fill("failed", type="other", created_at=ago(days=2), finished_at=ago(days=1))
    wanted = fill(
        "running", type="mail:x", queue="q", priority=2, worker_id=9, metadata={"user": {"id": 7}, "a": "b c"}
    )
    cases: list[dict[str, Any]] = [
        {"type": "mail:x"}, {"queue": "q"}, {"priority": "high"}, {"priority": "2"}, {"worker_id": "9"},
        {"state": ["running", "pending"]}, {"state": "processing"}, {"state": "running,blocked"},
        {"created_after": ago(hours=1).isoformat()}, {"created_after": "2020-01-01T00:00:00Z", "type": "mail:x"},
        {"metadata[a]": "b c", "state": "running"}, {"q": "type:mail:x", "queue": "q"},
        {"q": "metadata.user.id:7 created:<1h"}, {"metadata[a]": "b c", "created_after": ago(hours=1).isoformat()},
    ]  # fmt: skip
    for parameters in cases:
        assert ids(client, **parameters) == [wanted], parameters
    assert ids(client, created_before=ago(days=1).isoformat()) != [wanted]
    assert ids(client, type="mail:x", queue="other") == []


def test_a_page_says_how_many_there_are_and_where_the_next_begins(client: FlaskClient, fill: Fill) -> None:
    made = [fill() for _ in range(5)]
    first = client.get("/api/v1/tasks?limit=2&q=type:echo")
    assert first.json["total"] == 5  # counted, since little is there
    assert first.json["total_estimated"] is False
    assert (first.json["limit"], first.json["offset"], first.json["count"]) == (2, 0, 2)
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    second = client.get(link.partition(">")[0].removeprefix("<"))
    assert [int(task["id"]) for task in second.json["tasks"]] == made[2:0:-1]
    assert ids(client, limit=2, offset=4) == made[:1]
    assert listed(client, limit=2, offset=4)["next_cursor"] is None
    beyond = listed(client, limit=2, offset=40)
    assert (beyond["tasks"], beyond["total"]) == ([], 5)


def test_the_figures_beside_a_list_are_exact_for_what_lives(client: FlaskClient, fill: Fill) -> None:
    fill(priority=3)
    fill(priority=3, queue="b")
    fill("running", priority=0)
    fill("retrying", run_at=ago(hours=-1))
    fill("blocked")
    fill(run_at=ago(hours=-1))
    fill("dead_letter")

    page = listed(client, type="no-such-type")

    assert page["tasks"] == []
    assert page["queues"]["critical"] == {"queued": 2, "pending_unacked": 0}
    assert page["queues"]["low"] == {"queued": 0, "pending_unacked": 1}
    assert list(page["queues"]) == ["critical", "high", "normal", "low"]
    assert page["queue_depths"] == {"b": 1, "default": 4}
    assert (page["total_pending"], page["scheduled_count"], page["dlq_size"]) == (2, 1, 1)
    assert page["totals"] == {
        "pending": 2, "scheduled": 1, "blocked": 1, "running": 1, "retrying": 1, "completed": 0, "failed": 0,
        "cancelled": 0, "dead_letter": 1, "total": 7,
    }  # fmt: skip


def test_the_older_name_lists_the_same_under_jobs(client: FlaskClient, fill: Fill) -> None:
    made = fill()
    answer = client.get("/api/v1/jobs?limit=1").json
    assert [job["job_id"] for job in answer["jobs"]] == [str(made)]
    assert "tasks" not in answer
    assert set(answer) - {"jobs"} == set(listed(client)) - {"tasks"}


def test_a_task_that_moves_while_the_page_is_read_is_shown_where_it_went(
    client: FlaskClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = client.post("/api/v1/tasks", json={"type": "echo"}).json["id"]
    read = task_pages._read

    def finish_before(*arguments: Any) -> Any:
        engine.run()
        return read(*arguments)

    monkeypatch.setattr(task_pages, "_read", finish_before)
    page = listed(client)["tasks"]
    assert [(shown["id"], shown["state"]) for shown in page] == [(task, "completed")]


def test_a_zone_that_has_lost_its_plus_is_told_how_it_is_written(client: FlaskClient) -> None:
    refused = client.get("/api/v1/tasks?created_after=2026-11-23T11:00:00+01:00")
    assert (refused.status_code, refused.json["code"]) == (422, "invalid_request")
    assert "%2B" in refused.json["detail"]
    assert client.get("/api/v1/tasks?created_after=2026-11-23T11:00:00%2B01:00").status_code == 200
    assert "%2B" not in client.get("/api/v1/tasks?created_after=yesterday").json["detail"]


@pytest.mark.parametrize(
    ("parameters", "code", "pointer"),
    [
        ({"q": "typ:x"}, "invalid_filter", "?q"),
        ({"state": "nonsense"}, "invalid_filter", "?state"),
        ({"priority": "urgent"}, "invalid_filter", "?priority"),
        ({"worker_id": "x"}, "invalid_filter", "?worker_id"),
        ({"metadata[user]": "7"}, "filter_too_broad", "?metadata[user]"),
        ({"q": "type:x", "type": "x", "metadata[user]": "7"}, "filter_too_broad", "?metadata[user]"),
        ({"q": "payload.a:1"}, "filter_too_broad", "?q"),
        ({"q": "error:x state:failed"}, "filter_too_broad", "?q"),
        ({"created_after": "yesterday"}, "invalid_request", "?created_after"),
        ({"sort": "payload"}, "invalid_request", "?sort"),
        ({"sort": "id; DROP TABLE taskflow.tasks"}, "invalid_request", "?sort"),
        ({"limit": "0"}, "invalid_request", "?limit"),
        ({"limit": "201"}, "invalid_request", "?limit"),
        ({"offset": "-1"}, "invalid_request", "?offset"),
        ({"limit": "1_0"}, "invalid_request", "?limit"),
        ({"limit": "+5"}, "invalid_request", "?limit"),
        ({"limit": "5.0"}, "invalid_request", "?limit"),
        ({"limit": "\u0665"}, "invalid_request", "?limit"),
        ({"limit": ""}, "invalid_request", "?limit"),
        ({"offset": " 5"}, "invalid_request", "?offset"),
        ({"cursor": "x"}, "invalid_request", "?cursor"),
        ({"cursor": "WyItaWQiLCJ4Il0"}, "invalid_request", "?cursor"),
        ({"nonsense": "1"}, "invalid_request", "?nonsense"),
    ],
)
def test_what_cannot_be_listed_is_refused_with_its_place(
    client: FlaskClient, parameters: dict[str, str], code: str, pointer: str
) -> None:
    response = client.get("/api/v1/tasks", query_string=parameters)
    assert response.status_code == 422
    assert response.json["code"] == code
    assert response.json["errors"][0]["pointer"] == pointer


def test_a_cursor_belongs_to_its_order(client: FlaskClient, fill: Fill) -> None:
    for _ in range(3):
        fill()
    for sort in SORTS:
        cursor = listed(client, limit=1, sort=sort)["next_cursor"]
        for other in set(SORTS) - {sort}:
            response = client.get("/api/v1/tasks", query_string={"cursor": cursor, "sort": other})
            assert response.status_code == 422, (sort, other)


def test_sql_in_a_filter_finds_nothing_and_harms_nothing(client: FlaskClient, fill: Fill) -> None:
    fill()
    for text in ("x' OR '1'='1", "'; DROP TABLE taskflow.tasks; --", "%s", ":f0", "%(f0)s", "\\", '"'):
        for name in ("type", "queue"):
            assert ids(client, **{name: text}) == []
    assert len(ids(client)) == 1


def test_secrets_in_a_list_are_hidden(client: FlaskClient, admin: FlaskClient, fill: Fill) -> None:
    fill(payload={"password": "x", "to": "a"})
    assert listed(client)["tasks"][0]["payload"] == {"password": "[redacted]", "to": "a"}
    assert listed(admin)["tasks"][0]["payload"]["password"] == "x"
