"""Tasks that a worker was lost with run one at a time; the next begins when nothing can be blamed on the last."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any, cast

from taskflow.tasks.task import ClaimedTask
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.quarantine import PROBATION_SECONDS, Quarantine


def test_the_next_begins_when_the_end_of_the_one_before_is_stored_not_when_it_has_ended() -> None:
    in_flight, ran, quarantine = start()
    first, second = claimed(in_flight, 1), claimed(in_flight, 2)
    quarantine.admit(first)
    quarantine.admit(second)
    assert ran == [first]
    first.start()
    assert in_flight.settle(first)
    quarantine.pump()
    assert ran == [first], "its end is lost, and charged to it, if the second kills the process now"
    in_flight.written([first])
    assert ran == [first, second]


def test_the_next_begins_beside_one_that_has_run_for_long_without_doing_harm() -> None:
    in_flight, ran, quarantine = start()
    first, second = claimed(in_flight, 1), claimed(in_flight, 2)
    quarantine.admit(first)
    quarantine.admit(second)
    quarantine.pump()
    assert ran == [first]
    first.started = time.monotonic() - 2 * PROBATION_SECONDS
    quarantine.pump()
    assert ran == [first, second]


def test_what_waits_is_given_back_and_holds_nobody_up() -> None:
    in_flight, ran, quarantine = start()
    attempts = [claimed(in_flight, number) for number in range(3)]
    for attempt in attempts:
        quarantine.admit(attempt)
    assert quarantine.drain() == attempts[1:]
    in_flight.written(attempts)
    later = claimed(in_flight, 9)
    quarantine.admit(later)
    assert ran == [attempts[0], later]


def start() -> tuple[InFlight, list[Attempt], Quarantine]:
    in_flight = InFlight()
    ran: list[Attempt] = []
    return in_flight, ran, Quarantine(in_flight, ran.append)


def claimed(in_flight: InFlight, number: int) -> Attempt:
    task = ClaimedTask(number, 1, "noop", "default", 1, datetime.now(UTC), {}, {}, None, 1)
    attempt = Attempt(task, cast(Any, None), 1, time.monotonic(), 60.0, cast(Any, None))
    in_flight.add([attempt])
    return attempt
