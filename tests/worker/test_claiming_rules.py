"""The rules by which a claimer claims: the frontier, the pace, the quarantine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from taskflow.store.tasks import BOTTOM
from taskflow.tasks.registry import Registry, task
from taskflow.tasks.task import ClaimedTask
from taskflow.worker.attempt import Attempt, InFlight
from taskflow.worker.frontier import KEYS_PATIENCE, Frontier
from taskflow.worker.pace import Pace
from taskflow.worker.quarantine import Quarantine

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def claimed(task_id: int, queue: str = "default", priority: int = 1, losses: int = 0) -> ClaimedTask:
    return ClaimedTask(task_id, 1, "noop", queue, priority, MOMENT, {}, {}, None, losses)


def test_each_level_goes_on_behind_its_last_row() -> None:
    frontier = Frontier(Clock())
    frontier.advance([claimed(5, "a", 3), claimed(6, "a", 3), claimed(9, "b", 0)])
    at = MOMENT.isoformat()
    assert frontier.bounds(["a", "b"], sweep=False) == [
        BOTTOM, BOTTOM, BOTTOM, (at, 6),
        (at, 9), BOTTOM, BOTTOM, BOTTOM,
    ]  # fmt: skip


def test_a_frontier_may_go_back() -> None:
    frontier = Frontier(Clock())
    frontier.advance([claimed(50)])
    frontier.advance([claimed(7)])
    assert frontier.bounds(["default"], sweep=False)[1] == (MOMENT.isoformat(), 7)


def test_a_sweep_begins_at_the_bottom_of_every_level() -> None:
    frontier = Frontier(Clock())
    frontier.advance([claimed(5)])
    assert frontier.bounds(["default"], sweep=True) == [BOTTOM] * 4


def test_a_sweep_is_due_every_second_but_a_costly_one_takes_no_more_than_a_twentieth_of_the_time() -> None:
    clock = Clock()
    frontier = Frontier(clock)
    assert frontier.sweep_is_due
    frontier.took(0.001, sweep=True)
    assert not frontier.sweep_is_due
    clock.now += 1.0
    assert frontier.sweep_is_due
    frontier.took(0.2, sweep=True)
    frontier.took(0.2, sweep=True)
    clock.now += 3.9
    assert not frontier.sweep_is_due
    assert frontier.sweep_wait_seconds() > 0
    clock.now += 0.2
    assert frontier.sweep_is_due
    assert frontier.sweep_wait_seconds() <= 0


def test_where_something_is_known_to_wait_a_sweep_may_take_half_of_the_time() -> None:
    clock = Clock()
    frontier = Frontier(clock)
    frontier.took(0.2, sweep=True)
    frontier.took(0.2, sweep=True)
    clock.now += 0.19
    assert frontier.sweep_wait_seconds(KEYS_PATIENCE) > 0
    clock.now += 0.02
    assert frontier.sweep_wait_seconds(KEYS_PATIENCE) <= 0 < frontier.sweep_wait_seconds()


def test_one_slow_sweep_on_a_busy_machine_delays_nothing() -> None:
    clock = Clock()
    frontier = Frontier(clock)
    frontier.took(0.001, sweep=True)
    frontier.took(0.5, sweep=True)
    assert frontier.sweep_wait_seconds() <= 0.02


def test_what_every_claim_costs_is_not_the_cost_of_a_sweep() -> None:
    frontier = Frontier(Clock())
    for _ in range(50):
        frontier.took(0.01, sweep=False)
    frontier.took(0.011, sweep=True)
    frontier.took(0.011, sweep=True)
    assert frontier.sweep_wait_seconds() < 0.05


def test_nothing_is_prefetched_before_anything_is_known() -> None:
    assert Pace(10, 0.075, 400).prefetch() == 0


def test_the_prefetch_is_what_the_slots_do_in_the_time_given() -> None:
    pace = Pace(10, 0.075, 400)
    pace.observe(0.01)
    assert pace.prefetch() == 75


def test_slow_handlers_prefetch_nothing_and_quick_ones_no_more_than_the_limit() -> None:
    slow, quick = Pace(10, 0.075, 400), Pace(10, 0.075, 400)
    slow.observe(1.0)
    quick.observe(0.0)
    assert (slow.prefetch(), quick.prefetch()) == (0, 400)


def quarantined(count: int) -> tuple[Quarantine, InFlight, list[Attempt], list[Attempt]]:
    registry = Registry()

    @task("noop", registry=registry)
    def noop(payload: dict[str, Any]) -> None: ...

    in_flight = InFlight()
    running: list[Attempt] = []
    quarantine = Quarantine(in_flight, running.append)
    attempts = [Attempt(claimed(n, losses=1), noop, 1, 0.0, 60.0, None) for n in range(count)]  # type: ignore[arg-type]
    in_flight.add(attempts)
    for attempt in attempts:
        quarantine.admit(attempt)
    return quarantine, in_flight, attempts, running


def test_one_task_with_a_loss_runs_at_a_time() -> None:
    quarantine, in_flight, attempts, running = quarantined(3)
    assert running == attempts[:1]
    quarantine.pump()
    assert running == attempts[:1]
    in_flight.settle(attempts[0])
    quarantine.pump()
    assert running == attempts[:1], "its end is not stored yet"
    in_flight.written(attempts[:1])
    assert running == attempts[:2]


def test_one_that_has_run_for_a_second_without_harm_holds_up_nobody() -> None:
    quarantine, _, attempts, running = quarantined(2)
    attempts[0].start()
    quarantine.pump()
    assert running == attempts[:1]
    assert attempts[0].started is not None
    attempts[0].started -= 1.1
    quarantine.pump()
    assert running == attempts


def test_what_waits_in_quarantine_can_be_taken_back() -> None:
    quarantine, _, attempts, _ = quarantined(3)
    assert quarantine.drain() == attempts[1:]


def test_an_attempt_has_one_end() -> None:
    _, in_flight, attempts, _ = quarantined(1)
    assert in_flight.settle(attempts[0])
    assert not in_flight.settle(attempts[0])
    assert in_flight.unwritten == attempts
    in_flight.written(attempts)
    assert in_flight.unwritten == []
