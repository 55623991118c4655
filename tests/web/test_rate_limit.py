"""How often a client may ask, and what it is told about it."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from taskflow.web.access import rate_limit
from taskflow.web.access.rate_limit import RateLimit
from taskflow.web.events import tickets
from tests.web.conftest import ADMIN_KEY


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(rate_limit, "time", found)
    return found


def allowed(limit: RateLimit, client: str, times: int) -> int:
    return sum(not limit.count(client).retry_after_seconds for _ in range(times))


class TestCounting:
    def test_a_second_s_worth_passes_at_once_and_no_more(self, clock: Clock) -> None:
        assert allowed(RateLimit(100), "a", 150) == 100

    def test_afterwards_as_many_as_the_time_that_has_passed_allows(self, clock: Clock) -> None:
        limit = RateLimit(100)
        assert allowed(limit, "a", 150) == 100
        clock.now += 0.25
        assert allowed(limit, "a", 150) == 25
        clock.now += 3600
        assert allowed(limit, "a", 150) == 100

    def test_who_asks_evenly_is_never_refused(self, clock: Clock) -> None:
        limit = RateLimit(1000)
        for _ in range(20_000):
            assert not limit.count("a").retry_after_seconds
            clock.now += 0.001

    def test_one_client_takes_nothing_from_another(self, clock: Clock) -> None:
        limit = RateLimit(10)
        assert allowed(limit, "a", 100) == 10
        assert [allowed(limit, f"client {number}", 11) for number in range(1000)] == [10] * 1000

    def test_less_than_one_a_second(self, clock: Clock) -> None:
        limit = RateLimit(0.5)
        assert allowed(limit, "a", 5) == 1
        assert limit.count("a").retry_after_seconds == pytest.approx(2)
        clock.now += 2
        assert allowed(limit, "a", 5) == 1

    def test_what_is_left_is_told(self, clock: Clock) -> None:
        limit = RateLimit(10)
        assert [limit.count("a").remaining for _ in range(11)] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
        refused = limit.count("a")
        assert (refused.retry_after_seconds, refused.reset_seconds) == (pytest.approx(0.1), pytest.approx(1))

    def test_a_flood_of_addresses_takes_no_memory_and_lets_the_flood_itself_wait(self, clock: Clock) -> None:
        limit = RateLimit(1)
        passed = sum(allowed(limit, f"{number}", 1) for number in range(3 * rate_limit.SLOTS))
        assert rate_limit.SLOTS * 0.9 <= passed <= rate_limit.SLOTS
        clock.now += 2
        assert allowed(limit, "somebody else", 2) == 1

    def test_forked_processes_count_together(self) -> None:
        limit = RateLimit(0.001)  # nothing comes back during the test
        context = multiprocessing.get_context("fork")
        for _ in range(2):
            child = context.Process(target=limit.count, args=("a",))
            child.start()
            child.join()
        assert limit.count("a").retry_after_seconds > 0
        assert limit.count("b").retry_after_seconds == 0


@pytest.mark.usefixtures("clock")  # a slow answer would give something back
class TestAnswers:
    def test_each_says_what_is_left_and_one_too_many_is_429(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(rate_limit=3).test_client()
        answers = [client.get("/api/v1/tasks/1") for _ in range(4)]

        assert [answer.status_code for answer in answers] == [404, 404, 404, 429]
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"default";q=3;w=1'}
        assert [answer.headers["RateLimit"] for answer in answers] == [
            '"default";r=2;t=1',
            '"default";r=1;t=1',
            '"default";r=0;t=1',
            '"default";r=0;t=1',
        ]
        refused = answers[-1]
        assert (refused.json["code"], refused.headers["Retry-After"]) == ("rate_limited", "1")

    def test_a_thousand_a_second_by_default_and_none_with_0(self, make_app: Callable[..., Flask]) -> None:
        found = make_app().test_client().get("/api/v1/tasks/1").headers
        assert re.fullmatch(r'"default";q=1000;w=1', found["RateLimit-Policy"])
        assert "RateLimit" not in make_app(rate_limit=0).test_client().get("/api/v1/tasks/1").headers

    def test_a_key_is_counted_by_itself_wherever_it_comes_from(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(auth="on", admin_key=ADMIN_KEY, rate_limit=2).test_client()

        def status(address: str, **headers: str) -> int:
            return client.get(
                "/api/v1/tasks/1", environ_overrides={"REMOTE_ADDR": address}, headers=headers
            ).status_code

        with_key: dict[str, Any] = {"X-API-Key": ADMIN_KEY}
        assert [status("10.0.0.1"), status("10.0.0.1"), status("10.0.0.1")] == [401, 401, 429]
        assert [status("10.0.0.1", **with_key), status("10.0.0.2", **with_key)] == [404, 404]
        assert status("10.0.0.3", **with_key) == 429
        assert status("10.0.0.3") == 401

    def test_guesses_are_counted_by_their_address(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(auth="on", admin_key=ADMIN_KEY, rate_limit=5).test_client()
        answers = [client.get("/x", headers={"X-API-Key": f"guess {number}"}).status_code for number in range(8)]
        protected = [client.get("/api/v1/x", headers={"X-API-Key": "guess"}).status_code]

        assert answers == [404] * 5 + [429] * 3
        assert protected == [429]

    def test_guessed_tickets_cost_the_database_no_more_than_the_limit_lets_through(
        self, make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = make_app(auth="on", admin_key=ADMIN_KEY, rate_limit=5)
        database, looked_up = app.extensions["taskflow"].database, []
        read = database.fetch

        def counted(statement: Any, *parameters: Any) -> Any:
            looked_up.extend([statement] if statement is tickets.HOLDER else [])
            return read(statement, *parameters)

        monkeypatch.setattr(database, "fetch", counted)
        client = app.test_client()
        answers = [client.get(f"/api/v1/events?ticket=guess{number}").status_code for number in range(60)]

        assert answers == [401] * 5 + [429] * 55
        assert len(looked_up) == 5

    def test_a_valid_ticket_is_counted_by_its_key_alone(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(auth="on", admin_key=ADMIN_KEY, rate_limit=3).test_client()
        with_key = {"X-API-Key": ADMIN_KEY}
        ticket = client.post("/api/v1/events/ticket", headers=with_key).json["ticket"]

        unknown_event = f"/api/v1/events?ticket={ticket}&events=nothing"  # refused, but not for its ticket
        assert [client.get(unknown_event).status_code for _ in range(3)] == [422, 422, 429]
        assert client.get("/api/v1/tasks/1", headers=with_key).status_code == 429
        assert [client.get("/api/v1/tasks/1").status_code for _ in range(4)] == [401, 401, 401, 429]

    def test_probes_are_never_refused(self, make_app: Callable[..., Flask]) -> None:
        client = make_app(rate_limit=1).test_client()
        assert [client.get("/live").status_code for _ in range(5)] == [200] * 5
        assert [client.get("/ready").status_code for _ in range(5)] == [200] * 5
