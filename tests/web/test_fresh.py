"""A value that may be a little old: who reads it, who waits, and what a failure means."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from taskflow.errors import DatabaseUnavailable
from taskflow.web.reporting import fresh
from taskflow.web.reporting.fresh import Fresh

SECONDS = 20


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(fresh, "time", found)
    return found


def test_it_is_read_when_it_is_too_old_and_no_sooner(clock: Clock) -> None:
    numbers = iter(range(100))
    value = Fresh(lambda: next(numbers), refresh_after=0.5, max_age=0.9)

    assert [value.get(), value.get()] == [0, 0]
    clock.now += 0.49
    assert value.get() == 0
    clock.now += 0.02
    assert value.get() == 1


def test_while_one_reads_the_others_go_on_until_what_they_have_is_too_old(clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()
    answers = iter(["old", "new"])

    def read() -> str:
        answer = next(answers)
        if answer == "new":
            begun.set()
            assert go_on.wait(SECONDS)
        return answer

    value = Fresh(read, refresh_after=0.5, max_age=0.9)
    assert value.get() == "old"
    clock.now += 0.6
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(value.get)
        assert begun.wait(SECONDS)
        assert value.get() == "old"
        clock.now += 0.31
        waiting = pool.submit(value.get)
        go_on.set()
        assert (reading.result(SECONDS), waiting.result(SECONDS)) == ("new", "new")


def test_a_failure_is_told_to_all_who_waited_and_the_next_one_tries_again(clock: Clock) -> None:
    begun, go_on = threading.Event(), threading.Event()
    tries: list[int] = []

    def read() -> str:
        tries.append(1)
        if len(tries) > 1:
            return "there again"
        begun.set()
        assert go_on.wait(SECONDS)
        clock.now += 1
        raise DatabaseUnavailable("away")

    value = Fresh(read, refresh_after=0.5, max_age=0.9)
    with ThreadPoolExecutor(5) as pool:
        first = pool.submit(value.get)
        assert begun.wait(SECONDS)
        asked = threading.Barrier(5)

        def ask() -> str:
            asked.wait(SECONDS)
            return value.get()

        others = [pool.submit(ask) for _ in range(4)]
        asked.wait(SECONDS)
        while not all(other.running() for other in others):
            pass
        go_on.set()
        failures = [future.exception(SECONDS) for future in (first, *others)]

    assert isinstance(failures[0], DatabaseUnavailable)
    assert len(tries) <= 2
    clock.now += 1
    assert value.get() == "there again"
