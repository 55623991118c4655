"""Fire times over ten years and twenty zones against cronsim, an independent implementation of Debian's cron.

The two differ by rule in three places, and there a test says so: Debian's cron takes a step of minutes in a fixed
hour for a wildcard job; it takes `0-23` and `9-17/2` for fixed hours; and with `*/2` among the days it wants both days
to match.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from taskflow.schedules import Cron
from taskflow.schedules.syntax import follows_elapsed_time
from taskflow.schedules.zones import transitions

ZONES = [
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Moscow", "America/New_York", "America/Sao_Paulo",
    "America/St_Johns", "America/Santiago", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Tokyo", "Asia/Tehran", "Asia/Gaza",
    "Australia/Sydney", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Chatham", "Africa/Casablanca",
    "Atlantic/Azores",
]  # fmt: skip
# cronsim goes on by whole hours there, past the half hour that comes twice; test_cron has the rule for it.
BY_HALF_AN_HOUR = "Australia/Lord_Howe"
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2034, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def field(low: int, high: int, *, stepped: bool = True) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.tuples(span, st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    items = st.one_of(number.map(str), span, *([steps] if stepped else []))
    return st.lists(items, min_size=1, max_size=3).map(",".join)


any_minute = st.one_of(field(0, 59), st.just("*"), st.integers(2, 40).map("*/{}".format))
fixed_minute = field(0, 59)
any_day = st.one_of(st.just("*"), field(1, 28), st.just("L"))
any_month = st.one_of(st.just("*"), field(1, 12))
any_weekday = st.one_of(
    st.just("*"), field(0, 6), st.tuples(st.integers(0, 6), st.integers(1, 5)).map("{0[0]}#{0[1]}".format)
)
no_day = st.just("*")
days = st.one_of(
    st.tuples(any_day, any_month, no_day),
    st.tuples(no_day, any_month, any_weekday),
    st.tuples(field(1, 28), any_month, field(0, 6)),
)
wild_hour = st.one_of(st.just("*"), st.integers(1, 12).map("*/{}".format))
fixed_hour = field(0, 23, stepped=False).filter(lambda hours: not follows_elapsed_time(hours))
moments = st.datetimes(START.replace(tzinfo=None), END.replace(tzinfo=None), timezones=st.just(UTC))


def changes_of(zone: str) -> list[datetime]:
    """The instants of ten years at which clocks are changed in a zone."""
    return [change.at for year in range(START.year, END.year) for change in transitions(ZoneInfo(zone), year)]


def start_in(zone: str) -> st.SearchStrategy[tuple[str, datetime]]:
    """A zone with a time to begin at: any, and as often one shortly before or after clocks are changed."""
    changes = changes_of(zone)
    minutes = st.integers(-300, 90).map(lambda number: MINUTE * number)
    near = (
        st.builds(lambda change, distance: change + distance, st.sampled_from(changes), minutes) if changes else moments
    )
    return st.tuples(st.just(zone), st.one_of(near, moments))


places = st.sampled_from(ZONES).flatmap(start_in)


def ours(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    found: datetime | None = after
    while (found := Cron.of(expression).next_after(found, ZoneInfo(zone))) is not None:
        yield found


def theirs(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """cronsim's times: each instant once, and later than `after`, since a time of the gap may come to lie on
    another."""
    last = after
    # It goes by the clock on the wall and takes a repeated hour for its first time: begin before.
    for found in CronSim(expression, (after - timedelta(days=2)).astimezone(ZoneInfo(zone))):
        instant = found.astimezone(UTC)
        if instant > last:
            last = instant
            yield instant


def same(expression: str, zone: str, after: datetime, count: int = 8) -> None:
    if zone == BY_HALF_AN_HOUR and follows_elapsed_time(expression.split()[1]):
        return
    expected = list(islice(theirs(expression, zone, after), count))
    assert list(islice(ours(expression, zone, after), count)) == expected, (expression, zone, after)


@pytest.mark.parametrize("zone", ZONES)
def test_around_each_change_of_clocks_in_ten_years_all_fire_as_in_cronsim(zone: str) -> None:
    for change in changes_of(zone):
        for expression in ("30 2 * * *", "0 0,1,2,3 * * *", "30 * * * *", "0 */2 * * *", "15,45 0-3 * * *"):
            same(expression, zone, change - MINUTE * 200, 5)


@quick
@given(st.tuples(fixed_minute, fixed_hour, days), places)
def test_fixed_hours_fire_as_in_cronsim(parts: tuple[str, str, tuple[str, ...]], place: tuple[str, datetime]) -> None:
    zone, after = place
    minute, hour, day = parts
    same(" ".join((minute, hour, *day)), zone, after)


@quick
@given(st.tuples(any_minute, wild_hour, days), places)
def test_wildcards_and_steps_of_hours_fire_as_in_cronsim(
    parts: tuple[str, str, tuple[str, ...]], place: tuple[str, datetime]
) -> None:
    zone, after = place
    minute, hour, day = parts
    same(" ".join((minute, hour, *day)), zone, after)


@quick
@given(st.tuples(fixed_minute, st.sampled_from(["0-23", "0-23/1", "0-22/2", "1-23/3"])), places)
def test_a_step_in_a_range_of_hours_follows_elapsed_time_and_not_the_clock_as_in_cronsim(
    parts: tuple[str, str], place: tuple[str, datetime]
) -> None:
    zone, after = place
    assume(zone != BY_HALF_AN_HOUR)
    minute, hours = parts
    # cronsim is told by the star that this is a wildcard; the minutes are in the hours that the range has.
    stars = {"0-23": "*", "0-23/1": "*/1", "0-22/2": "*/2"}.get(hours)
    if stars is not None:
        expected = list(islice(theirs(f"{minute} {stars} * * *", zone, after), 8))
    else:
        expected = list(
            islice(
                (t for t in theirs(f"{minute} * * * *", zone, after) if t.astimezone(ZoneInfo(zone)).hour % 3 == 1), 8
            )
        )
    assert list(islice(ours(f"{minute} {hours} * * *", zone, after), 8)) == expected


@quick
@given(st.integers(2, 30), field(0, 5, stepped=False), places)
def test_a_step_of_minutes_in_a_fixed_hour_is_fixed_and_not_a_wildcard_as_in_cronsim(
    step: int, hours: str, place: tuple[str, datetime]
) -> None:
    zone, after = place
    listed = ",".join(map(str, range(0, 60, step)))  # to cronsim, this is fixed
    expected = list(islice(theirs(f"{listed} {hours} * * *", zone, after), 8))
    assert list(islice(ours(f"*/{step} {hours} * * *", zone, after), 8)) == expected


@quick
@given(st.integers(2, 10), field(0, 6, stepped=False).filter(lambda days: days != "0-6"), places)
def test_a_step_of_days_beside_weekdays_means_either_and_not_both_as_in_cronsim(
    step: int, weekdays: str, place: tuple[str, datetime]
) -> None:
    zone, after = place
    if len({day % 7 for day in range(7) if _names_all(weekdays)}) == 7:
        return  # all weekdays are none in particular
    either = merge(theirs(f"0 12 */{step} * *", zone, after), theirs(f"0 12 * * {weekdays}", zone, after))
    expected: list[datetime] = []
    for time in either:
        if not expected or time > expected[-1]:
            expected.append(time)
        if len(expected) == 8:
            break
    assert list(islice(ours(f"0 12 */{step} * {weekdays}", zone, after), 8)) == expected


def _names_all(weekdays: str) -> bool:
    named: set[int] = set()
    for item in weekdays.split(","):
        first, _, last = item.partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    return len(named) == 7


@settings(max_examples=20, deadline=None, derandomize=True)
@given(places, st.sampled_from(["*", "*/2", "1-23/2", "1,2,3", "0", "2", "3"]), st.integers(1, 59))
def test_two_days_of_minutes_around_any_time_fire_by_the_rule(
    place: tuple[str, datetime], hours: str, step: int
) -> None:
    """The rule in its plainest form, a look at every minute, without croniter and without cronsim."""
    zone, after = place
    clocks = ZoneInfo(zone)
    wanted_hours = {"*": range(24), "*/2": range(0, 24, 2), "1-23/2": range(1, 24, 2)}.get(hours) or [
        int(hour) for hour in hours.split(",")
    ]
    begin = after.replace(second=0, microsecond=0)
    minutes = [begin + MINUTE * number for number in range(1, 2 * 1440)]
    shown = {minute: minute.astimezone(clocks).replace(tzinfo=None) for minute in minutes}

    def matches(local: datetime) -> bool:
        return local.hour in wanted_hours and local.minute % step == 0

    expected = []
    for before, minute in zip([begin, *minutes], minutes, strict=False):
        local, last = shown[minute], before.astimezone(clocks).replace(tzinfo=None)
        if "*" in hours or "/" in hours:
            fires = matches(local)
        else:  # not what was shown before; and with the first minute after a gap, what the gap has left out
            first_time = minute.astimezone(clocks).fold == 0
            left_out = [last + MINUTE * n for n in range(1, int((local - last) / MINUTE))]
            fires = (matches(local) and first_time) or any(map(matches, left_out))
        if fires:
            expected.append(minute)
    found = list(islice(ours(f"*/{step} {hours} * * *", zone, after), len(expected)))
    assert found == [time for time in expected if time > after]
