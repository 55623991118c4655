"""Schedules at the ends of the calendar, and those that have no fire time left."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient

SCHEDULES = "/api/v1/schedules"
ADDRESS = f"{SCHEDULES}/nightly"
PAUSED = {"name": "nightly", "type": "echo", "cron": "@daily", "enabled": False}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("rule", [{"cron": "@daily"}, {"cron": "0 * * * *"}, {"interval": 60}])
@pytest.mark.parametrize("field", ["starts_at", "ends_at", "after"])
def test_a_time_at_an_end_of_the_calendar_is_refused_with_its_place(
    client: FlaskClient, field: str, rule: dict[str, Any], zone: str
) -> None:
    def preview(time: str) -> Any:
        return client.post(f"{SCHEDULES}/preview", json={**rule, "timezone": zone, field: time})

    for wrong in ("0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "2200-01-01T00:00:00Z", "9999-12-31T23:59:59Z"):
        response = preview(wrong)
        assert (response.status_code, response.json["errors"][0]["pointer"]) == (422, f"/{field}"), wrong
    for right in ("1900-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2199-12-31T00:00:00Z"):
        assert preview(right).status_code == 200, right


def test_what_cannot_fire_any_more_cannot_be_enabled(client: FlaskClient) -> None:
    client.post(SCHEDULES, json=PAUSED)
    paused = client.patch(ADDRESS, json={"ends_at": "2000-01-01T00:00:00Z"})
    assert paused.status_code == 200
    for response in (client.patch(ADDRESS, json={"enabled": True}), client.post(f"{ADDRESS}/resume")):
        problem = response.json["errors"][0]
        assert (response.status_code, problem["code"], problem["pointer"]) == (422, "never_fires", "/ends_at")
    assert client.get(ADDRESS).json == paused.json
    assert client.patch(ADDRESS, json={"enabled": True, "ends_at": None}).json["next_run_at"] is not None


def test_what_is_enabled_cannot_be_given_an_end_that_has_passed(client: FlaskClient) -> None:
    enabled = client.post(SCHEDULES, json={**PAUSED, "enabled": True}).json
    response = client.patch(ADDRESS, json={"ends_at": "2000-01-01T00:00:00Z"})
    assert (response.status_code, response.json["errors"][0]["code"]) == (422, "never_fires")
    assert client.get(ADDRESS).json == enabled


def test_one_that_sql_has_written_with_an_odd_time_is_shown_all_the_same(
    client: FlaskClient, connection: psycopg.Connection[Any]
) -> None:
    client.post(SCHEDULES, json=PAUSED)
    connection.execute(
        "UPDATE taskflow.schedules SET enabled = true, next_run_at = now(), created_at = '9999-12-31 23:00+00',"
        ' cron = NULL, "interval" = 7200'
    )
    assert len(client.get(ADDRESS).json["next_runs"]) == 1


@pytest.mark.parametrize(
    "time", ["-infinity", "infinity", "4000-01-01 BC", "0001-01-01Z", "1899-12-31Z", "9999-12-31Z"]
)
@pytest.mark.parametrize("field", ["starts_at", "ends_at"])
def test_sql_cannot_write_a_time_that_the_api_refuses(
    client: FlaskClient, connection: psycopg.Connection[Any], field: str, time: str
) -> None:
    client.post(SCHEDULES, json=PAUSED)
    with pytest.raises(psycopg.DataError, match="from 1900 to 2199"):
        connection.execute(f"UPDATE taskflow.schedules SET {field} = %s", [time])
    with pytest.raises(psycopg.DataError, match="from 1900 to 2199"):
        connection.execute(
            f"INSERT INTO taskflow.schedules (name, type, \"interval\", {field}) VALUES ('b', 'x', 60, %s)", [time]
        )
    connection.execute(f"UPDATE taskflow.schedules SET {field} = '1970-01-01Z'")
