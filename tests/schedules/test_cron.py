"""Which expressions are taken, and when they fire where clocks are changed."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from taskflow.errors import InvalidSchedule
from taskflow.schedules import Cron, Timing
from taskflow.schedules.zones import transitions, zone_of

REFUSED = [
    "", " ", "* * * *", "* * * * * *", "0 * * * * * 2030", "@reboot", "@midnight", "@every 5m", "nonsense",
    "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * 0 *", "* * * * 8", "-1 * * * *",
    "+1 * * * *", "1, * * * *", ",1 * * * *", "*/0 * * * *", "1/0 * * * *", "* * * foo *", "* * jan * *",
    "1.5 * * * *", "* * * * *#2", "r * * * *", "h * * * *", "r(0-30) * * * *", "h/15 * * * *", "? * * * *",
    "٣ * * * *", "* * * * 1#6", "* * * * l8", "* * lw * *", "*-5 * * * *", "1-2-3 * * * *", "* * 15w,16 * *",
    "1\u00a0* * * *", "* * * *\n*", "* * * * *\x00", "* * * *\u2003*", "1" * 600 + " * * * *",
]  # fmt: skip
EQUAL_BOUNDS = [
    "5-5 * * * *",
    "* 7-7 * * *",
    "* * 1-1 * *",
    "* * * jan-1 *",
    "* * * * mon-mon",
    "* * * * 3-wed",
    "0-0/2 * * * *",
]
NEVER = ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 feb *", "* * 30-31 2 *"]
AMBIGUOUS = ["0 0 15 * 1#1", "0 0 * * 1,3#2", "0 0 1 * l5", "0 0 15w * 1"]


@pytest.mark.parametrize("expression", REFUSED)
def test_what_is_no_expression_of_five_fields_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        Cron(expression)
    assert (raised.value.field, raised.value.code) == ("cron", "invalid_cron")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("61 * * * *", "'61' does not fit the minute: that is a number from 0 to 59"),
        ("0 9-24 * * *", "'9-24' does not fit the hour: that is a number from 0 to 23"),
        ("0 0 1,0 * *", "'0' does not fit the day of month: that is a number from 1 to 31"),
        ("0 0 * 13/99 *", "'13/99' does not fit the month: that is a number from 1 to 12"),
        ("0 0 * * mon-8", "'mon-8' does not fit the day of week: that is a number from 0 to 7"),
    ],
)
def test_a_number_outside_of_its_field_is_told_with_the_field(expression: str, said: str) -> None:
    with pytest.raises(InvalidSchedule, match=said):
        Cron(expression)


@pytest.mark.parametrize("expression", EQUAL_BOUNDS)
def test_a_range_that_begins_where_it_ends_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule, match="begins where it ends"):
        Cron(expression)


@pytest.mark.parametrize("expression", NEVER)
def test_an_expression_that_never_fires_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        Cron(expression)
    assert raised.value.code == "cron_never_fires"


@pytest.mark.parametrize("expression", AMBIGUOUS)
def test_a_weekday_of_the_month_beside_other_days_is_refused(expression: str) -> None:
    with pytest.raises(InvalidSchedule, match="cannot stand beside"):
        Cron(expression)


def times(expression: str, zone: str, after: str, count: int) -> list[str]:
    """The next fire times as clocks in the zone show them, with the offset."""
    timing = Timing(expression, None, zone, datetime(2020, 1, 1, tzinfo=UTC))
    start = datetime.fromisoformat(after).replace(tzinfo=ZoneInfo(zone))
    return [
        found.astimezone(ZoneInfo(zone)).strftime("%d %H:%M %z")
        for found in islice(timing.after(start.astimezone(UTC)), count)
    ]


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("@minutely", "2026-05-01 10:00", ["01 10:01 +0200", "01 10:02 +0200"]),
        ("@HOURLY", "2026-05-01 10:00", ["01 11:00 +0200", "01 12:00 +0200"]),
        ("@daily", "2026-05-01 10:00", ["02 00:00 +0200", "03 00:00 +0200"]),
        ("@weekly", "2026-05-01 10:00", ["03 00:00 +0200", "10 00:00 +0200"]),
        ("@monthly", "2026-05-01 10:00", ["01 00:00 +0200", "01 00:00 +0200"]),
        ("@yearly", "2026-05-01 10:00", ["01 00:00 +0100", "01 00:00 +0100"]),
        ("0 0 l * *", "2028-02-01 00:00", ["29 00:00 +0100", "31 00:00 +0200"]),
        ("0 9 * * mon#1", "2026-05-01 10:00", ["04 09:00 +0200", "01 09:00 +0200"]),
        ("0 9 * * l5", "2026-05-01 10:00", ["29 09:00 +0200", "26 09:00 +0200"]),
        ("0 9 1 * 1", "2026-05-25 10:00", ["01 09:00 +0200", "08 09:00 +0200"]),
        ("0 22-1 * * *", "2026-05-01 10:00", ["01 22:00 +0200", "01 23:00 +0200", "02 00:00 +0200", "02 01:00 +0200"]),
        ("0 0 29 2 *", "2026-05-01 10:00", ["29 00:00 +0100", "29 00:00 +0100"]),
    ],
)
def test_an_expression_fires_when_it_says(expression: str, after: str, expected: list[str]) -> None:
    assert times(expression, "Europe/Berlin", after, len(expected)) == expected


class TestGap:
    """In Berlin on 29 March 2026 clocks went from 02:00 to 03:00."""

    def test_a_fixed_time_that_does_not_exist_fires_once_right_after_the_gap(self) -> None:
        assert times("30 2 * * *", "Europe/Berlin", "2026-03-28 00:00", 3) == [
            "28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200",
        ]  # fmt: skip

    def test_several_of_them_fire_once_together(self) -> None:
        assert times("*/20 2,3 * * *", "Europe/Berlin", "2026-03-29 00:00", 4) == [
            "29 03:00 +0200", "29 03:20 +0200", "29 03:40 +0200", "30 02:00 +0200",
        ]  # fmt: skip

    @pytest.mark.parametrize("hours", ["*", "*/1", "0-23", "0-23/1", "1-0"])
    def test_with_a_wildcard_of_hours_what_does_not_exist_does_not_fire(self, hours: str) -> None:
        assert times(f"30 {hours} * * *", "Europe/Berlin", "2026-03-29 00:45", 3) == [
            "29 01:30 +0100", "29 03:30 +0200", "29 04:30 +0200",
        ]  # fmt: skip

    def test_with_a_step_of_hours_as_well(self) -> None:
        assert times("0 */2 * * *", "Europe/Berlin", "2026-03-28 23:30", 3) == [
            "29 00:00 +0100", "29 04:00 +0200", "29 06:00 +0200",
        ]  # fmt: skip

    def test_a_day_that_a_country_left_out_fires_right_after_it(self) -> None:
        assert times("0 12 * * *", "Pacific/Apia", "2011-12-28 13:00", 3) == [
            "29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400",
        ]  # fmt: skip

    def test_a_gap_of_half_an_hour(self) -> None:
        assert times("15 2 * * *", "Australia/Lord_Howe", "2026-10-03 03:00", 2) == ["04 02:30 +1100", "05 02:15 +1100"]


class TestRepeatedHour:
    """In Berlin on 25 October 2026 clocks went from 03:00 back to 02:00."""

    def test_a_fixed_time_that_exists_twice_fires_once_the_first_time(self) -> None:
        assert times("30 2 * * *", "Europe/Berlin", "2026-10-24 03:00", 2) == ["25 02:30 +0200", "26 02:30 +0100"]

    def test_a_fixed_hour_with_a_wildcard_of_minutes_fires_the_first_time_only(self) -> None:
        found = times("*/30 2,3 * * *", "Europe/Berlin", "2026-10-25 00:00", 4)
        assert found == ["25 02:00 +0200", "25 02:30 +0200", "25 03:00 +0100", "25 03:30 +0100"]

    @pytest.mark.parametrize("hours", ["*", "*/1", "0-23", "*/2,1-23/2"])
    def test_with_a_wildcard_of_hours_it_fires_twice(self, hours: str) -> None:
        assert times(f"30 {hours} * * *", "Europe/Berlin", "2026-10-25 01:00", 4) == [
            "25 01:30 +0200", "25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100",
        ]  # fmt: skip

    def test_a_half_hour_that_comes_twice(self) -> None:
        assert times("45 * * * *", "Australia/Lord_Howe", "2026-04-05 01:00", 3) == [
            "05 01:45 +1100", "05 01:45 +1030", "05 02:45 +1030",
        ]  # fmt: skip
        assert times("45 1 * * *", "Australia/Lord_Howe", "2026-04-05 01:00", 2) == ["05 01:45 +1100", "06 01:45 +1030"]

    def test_begun_within_it_nothing_is_left_out(self) -> None:
        zone = ZoneInfo("Europe/Berlin")
        second_time = datetime(2026, 10, 25, 2, 10, tzinfo=zone, fold=1).astimezone(UTC)
        assert Cron.of("30 2 * * *").next_after(second_time, zone) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
        assert Cron.of("30 * * * *").next_after(second_time, zone) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_fire_times_grow_across_a_hundred_years_and_end_with_them() -> None:
    timing = Timing("0 0 29 2 *", None, "America/New_York", datetime(2020, 1, 1, tzinfo=UTC))
    found = list(timing.after(datetime(2090, 1, 1, tzinfo=UTC)))
    assert [time.year for time in found] == [y for y in range(2092, 2200, 4) if y != 2100]


def test_transitions_are_found_to_the_second() -> None:
    (spring, autumn) = transitions(ZoneInfo("Europe/Berlin"), 2026)
    assert (spring.at, autumn.at) == (
        datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC),
    )  # fmt: skip
    assert transitions(ZoneInfo("UTC"), 2026) == ()


@pytest.mark.parametrize(
    "name", ["", "Berlin", "CET+1", "../../etc/passwd", "/etc/localtime", "europe/berlin", "UTC\x00", "Factory/"]
)
def test_what_is_no_iana_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSchedule) as raised:
        zone_of(name)
    assert raised.value.field == "timezone"


def test_an_expression_is_read_in_no_time_however_it_is_made() -> None:
    """None of these can keep the reader busy: it is bounded by the length of the text."""
    for expression in [
        ",".join(["*"] * 249) + " * * * *",
        "*" * 490 + " * * * *",
        "0-59/1," * 60 + "1 * * * *",
        "a-" * 240,
    ]:
        began = time.monotonic()
        with contextlib.suppress(InvalidSchedule):
            Cron(expression)
        assert time.monotonic() - began < 1
