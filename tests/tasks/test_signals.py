"""What a handler can raise carries what the worker needs to know, in seconds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskflow import Cancel, DeadLetter, Retry, Signal, Snooze, TaskflowError


@pytest.mark.parametrize(("after", "seconds"), [(None, None), (2.5, 2.5), (timedelta(minutes=1), 60.0), (0, 0)])
def test_retry_carries_its_delay_in_seconds(after, seconds):
    assert Retry(after=after).after_seconds == seconds


@pytest.mark.parametrize(("given", "seconds"), [(30, 30.0), (timedelta(hours=1), 3600.0), (0, 0.0)])
def test_snooze_carries_its_time_in_seconds(given, seconds):
    assert Snooze(given).seconds == seconds


def test_a_time_that_has_passed_is_now():
    assert (Retry(after=-3).after_seconds, Snooze(timedelta(days=-1)).seconds) == (0, 0)


@pytest.mark.parametrize("given", ["x", float("nan"), float("inf"), 1e12, timedelta(days=400 * 366), True, [1]])
def test_a_delay_that_cannot_be_stored_is_refused_by_name(given):
    with pytest.raises(ValueError, match="after must be a number of seconds"):
        Retry(after=given)
    with pytest.raises(ValueError, match="seconds must be a number of seconds"):
        Snooze(given)


@pytest.mark.parametrize(
    "signal", [Cancel("no longer wanted"), DeadLetter("no longer wanted"), Retry("no longer wanted")]
)
def test_a_reason_is_the_message(signal):
    assert str(signal) == "no longer wanted"


@pytest.mark.parametrize("signal", [Retry(), Snooze(1), Cancel(), DeadLetter()])
def test_every_signal_has_a_message_and_is_no_error_of_taskflow(signal):
    assert str(signal)
    assert isinstance(signal, Signal)
    assert not isinstance(signal, TaskflowError)
