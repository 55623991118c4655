from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from taskflow.errors import InvalidPayload
from taskflow.tasks.registry import registry


def test_sleep_waits_as_long_as_it_was_told(run) -> None:
    started = monotonic()
    result = run("sleep", {"seconds": 0.05})
    assert 0.05 <= monotonic() - started < 5
    assert result["slept_seconds"] == pytest.approx(0.05, abs=1)


def test_sleeping_for_no_time_is_allowed(run) -> None:
    assert run("sleep", {"seconds": 0})["slept_seconds"] < 1


def test_a_cancelled_sleep_ends_at_once() -> None:
    handler = registry.get("sleep")

    async def cancelled() -> None:
        sleeping = asyncio.create_task(handler.function(handler.parse({"seconds": 86_400})))
        await asyncio.sleep(0)
        sleeping.cancel()
        await sleeping

    started = monotonic()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert monotonic() - started < 5


def test_thousands_sleep_side_by_side() -> None:
    handler = registry.get("sleep")

    async def many() -> None:
        await asyncio.gather(*(handler.function(handler.parse({"seconds": 0.5})) for _ in range(2000)))

    started = monotonic()
    asyncio.run(many())
    assert monotonic() - started < 30


@pytest.mark.parametrize("seconds", [-0.001, 86_400.001, "1", None, True, [], 1e300])
def test_a_time_that_is_no_number_from_0_to_a_day_is_refused(run, seconds) -> None:
    with pytest.raises(InvalidPayload) as caught:
        run("sleep", {"seconds": seconds})
    assert [problem.pointer for problem in caught.value.problems] == ["/seconds"]


@pytest.mark.parametrize("payload", [{}, {"seconds": 1, "minutes": 2}])
def test_missing_and_unknown_fields_are_refused(run, payload) -> None:
    with pytest.raises(InvalidPayload):
        run("sleep", payload)
