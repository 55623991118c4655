from __future__ import annotations

from datetime import UTC, datetime

import pytest

from taskflow.handlers._retry_after import retry_after_seconds

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("Sun, 22 Nov 2026 12:01:30 GMT", 90),
        ("Sunday, 22-Nov-26 12:01:30 GMT", 90),
        ("Sun Nov 22 12:01:30 2026", 90),
        ("Sun, 22 Nov 2026 12:01:30 -0000", 90),
    ],
)
def test_seconds_and_all_forms_of_http_dates_are_understood(value, seconds) -> None:
    assert retry_after_seconds(value, now=NOW) == seconds


@pytest.mark.parametrize("value", ["0", "Sun, 22 Nov 2026 11:00:00 GMT"])
def test_no_wait_at_all_is_made_a_second(value) -> None:
    assert retry_after_seconds(value, now=NOW) == 1


@pytest.mark.parametrize("value", ["86401", "9" * 5000, "Fri, 22 Nov 2126 12:00:00 GMT"])
def test_nobody_makes_a_task_wait_longer_than_a_day(value) -> None:
    assert retry_after_seconds(value, now=NOW) == 86_400


@pytest.mark.parametrize("value", ["", "soon", "-5", "1.5", "²", "Sun, 99 Nov 2026 12:00:00 GMT", "Sun, 22 Nov"])
def test_what_makes_no_sense_says_nothing(value) -> None:
    assert retry_after_seconds(value, now=NOW) is None
