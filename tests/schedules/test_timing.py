"""Intervals, beginnings and ends, and what becomes of fire times that went by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskflow.errors import InvalidSchedule
from taskflow.schedules import Timing, catch_up

BORN = datetime(2026, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC)
NOW = datetime(2026, 5, 2, 12, 0, 30, tzinfo=UTC)


def every(seconds: float, **bounds: Any) -> Timing:
    return Timing(None, seconds, "UTC", BORN, **bounds)


def cron(expression: str, **bounds: Any) -> Timing:
    return Timing(expression, None, "UTC", BORN, **bounds)


def ago(**units: float) -> datetime:
    return NOW - timedelta(**units)


class TestInterval:
    def test_is_counted_from_the_creation_and_does_not_drift(self) -> None:
        timing = every(90)
        assert timing.upcoming(BORN, 2) == [BORN + timedelta(seconds=90), BORN + timedelta(seconds=180)]
        assert timing.next_after(BORN + timedelta(seconds=100)) == BORN + timedelta(seconds=180)

    def test_begins_with_starts_at(self) -> None:
        begin = BORN + timedelta(hours=5)
        assert every(90, starts_at=begin).upcoming(BORN, 2) == [begin, begin + timedelta(seconds=90)]

    def test_a_fraction_of_a_second_is_exact(self) -> None:
        tenths = every(0.1).upcoming(BORN, 3)
        assert [(time - BORN).microseconds for time in tenths] == [100_000, 200_000, 300_000]

    @given(st.floats(0.001, 1e8), st.floats(0, 1e9))
    @settings(max_examples=200, deadline=None)
    def test_the_next_time_is_later_and_no_further_than_one_interval(self, seconds: float, passed: float) -> None:
        after = BORN + timedelta(seconds=passed)
        found = every(seconds).next_after(after)
        assert found is not None
        assert timedelta(0) < found - after <= timedelta(seconds=seconds) + timedelta(microseconds=1)


class TestBounds:
    def test_both_ends_are_included(self) -> None:
        begin, end = datetime(2026, 5, 1, 12, tzinfo=UTC), datetime(2026, 5, 1, 14, tzinfo=UTC)
        timing = cron("0 * * * *", starts_at=begin, ends_at=end)
        assert [time.hour for time in timing.after(BORN)] == [12, 13, 14]

    @pytest.mark.parametrize(
        ("timing", "field"),
        [
            (Timing(None, None, "UTC", BORN), "cron"),
            (Timing("* * * * *", 5, "UTC", BORN), "cron"),
            (every(0), "interval"),
            (every(-1), "interval"),
            (every(float("inf")), "interval"),
            (every(float("nan")), "interval"),
            (every(36_526 * 86_400.0), "interval"),
            (Timing(None, 5, "Mars/Olympus", BORN), "timezone"),
            (cron("x"), "cron"),
            (every(5, starts_at=NOW, ends_at=BORN), "ends_at"),
            (every(5, starts_at=datetime.min.replace(tzinfo=UTC)), "starts_at"),
            (cron("@daily", ends_at=datetime.min.replace(tzinfo=UTC)), "ends_at"),
        ],
    )
    def test_what_cannot_fire_is_refused(self, timing: Timing, field: str) -> None:
        with pytest.raises(InvalidSchedule) as raised:
            timing.check()
        assert raised.value.field == field


class TestMissed:
    """It is 12:00:30."""

    def test_what_is_on_time_fires(self) -> None:
        due = ago(seconds=0.01)
        assert catch_up(every(60, starts_at=due), "skip", due, NOW) == ((due,), False, due + timedelta(seconds=60))

    def test_what_lies_ahead_is_planned(self) -> None:
        due = ago(seconds=-5)
        assert catch_up(every(60, starts_at=due), "skip", due, NOW).fires == (due,)

    @pytest.mark.parametrize("policy", ["skip", "once", "all"])
    def test_after_a_hiccup_every_fire_time_fires(self, policy: Any) -> None:
        timing, due, fired = every(1), ago(seconds=3.75), []
        while due is not None and due <= NOW:
            fires, dropped, due = catch_up(timing, policy, due, NOW)
            assert not dropped
            fired += fires
        assert len(fired) == 4

    @pytest.mark.parametrize("policy", ["skip", "once", "all"])
    def test_the_newest_fires_up_to_a_minute_late(self, policy: Any) -> None:
        """As when another leader takes over."""
        due = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
        assert catch_up(cron("0 * * * *"), policy, due, NOW) == ((due,), False, due + timedelta(hours=1))

    def test_after_hours_skip_fires_none(self) -> None:
        timing, due = cron("15 * * * *"), datetime(2026, 5, 2, 8, 15, tzinfo=UTC)
        assert catch_up(timing, "skip", due, NOW) == ((), True, datetime(2026, 5, 2, 12, 15, tzinfo=UTC))

    def test_after_hours_once_fires_one_for_all(self) -> None:
        timing, due = cron("15 * * * *"), datetime(2026, 5, 2, 8, 15, tzinfo=UTC)
        assert catch_up(timing, "once", due, NOW) == ((due,), True, datetime(2026, 5, 2, 12, 15, tzinfo=UTC))

    def test_after_hours_all_fires_each(self) -> None:
        timing, due = cron("15 * * * *"), datetime(2026, 5, 2, 8, 15, tzinfo=UTC)
        fires, dropped, following = catch_up(timing, "all", due, NOW)
        assert [time.hour for time in fires] == [8, 9, 10, 11]
        assert (dropped, following) == (False, datetime(2026, 5, 2, 12, 15, tzinfo=UTC))

    def test_the_newest_is_not_missed_where_it_has_just_passed(self) -> None:
        timing, due = cron("0 * * * *"), datetime(2026, 5, 2, 8, 0, tzinfo=UTC)
        noon = datetime(2026, 5, 2, 12, 0, tzinfo=UTC)
        assert catch_up(timing, "skip", due, NOW) == ((), True, noon)
        assert catch_up(timing, "skip", noon, NOW).fires == (noon,)

    @pytest.mark.parametrize("timing", [cron("* * * * *"), every(60)])
    def test_after_a_year_all_fires_the_newest_hundred_without_walking_through_it(self, timing: Timing) -> None:
        due = timing.next_after(BORN)
        now = BORN + timedelta(days=365)
        assert due is not None
        fires, dropped, following = catch_up(timing, "all", due, now)
        assert (len(fires), dropped) == (100, True)
        assert fires[-1] == (following or now) - timedelta(seconds=60)
        assert fires[0] == fires[-1] - timedelta(minutes=99)

    @given(
        st.sampled_from([every(1), every(7.5), every(3600), cron("* * * * *"), cron("*/7 * * * *"), cron("0 5 * * 1")]),
        st.floats(0, 40 * 86_400),
        st.sampled_from(["skip", "once", "all"]),
    )
    @settings(max_examples=80, deadline=None)
    def test_whatever_the_downtime_no_time_fires_twice_and_the_end_is_ahead(
        self, timing: Timing, down: float, policy: Any
    ) -> None:
        due: datetime | None = timing.next_after(BORN)
        assert due is not None
        now, fired, rounds = due + timedelta(seconds=down), [], 0
        while due is not None and due <= now:
            fires, _, following = catch_up(timing, policy, due, now)
            assert following is None or following > due
            fired += fires
            due, rounds = following, rounds + 1
        assert fired == sorted(set(fired))
        assert all(time <= now for time in fired)
        assert len(fired) <= {"skip": 61, "once": 62, "all": 161}[policy]
        assert rounds <= 62
