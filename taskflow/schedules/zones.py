"""Time zones as stretches of constant offset, so that no fire time falls into a gap or out of a repeated hour
unseen."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from taskflow.errors import InvalidSchedule

# What schedules and filters take as a time, up to what the API and the table of tasks do.
EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


class Transition(NamedTuple):
    """The instant (UTC) from which on a zone has another offset."""

    at: datetime
    before: timedelta
    after: timedelta


class Stretch(NamedTuple):
    """A time from `begin` until before `end` (UTC) in which a zone has one offset."""

    begin: datetime
    end: datetime
    offset: timedelta


def zone_of(name: str) -> ZoneInfo:
    """The zone with this IANA name. Raises `InvalidSchedule`."""
    # By the list, since a name is otherwise the path of any file below the database's directory.
    if name not in _names():
        raise InvalidSchedule("timezone", "unknown_timezone", "must be an IANA name such as Europe/Berlin or UTC")
    return ZoneInfo(name)


def stretches(zone: ZoneInfo, start: datetime) -> Iterator[Stretch]:
    """The stretches of a zone from `start` (UTC) on, up to `LATEST`."""
    begin = start
    for year in range(start.year, LATEST.year + 1):
        for transition in transitions(zone, year):
            if transition.at > begin:
                yield Stretch(begin, transition.at, transition.before)
                begin = transition.at
    yield Stretch(begin, LATEST, offset_at(zone, begin))


def first_instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant (UTC) at which clocks in the zone first show the naive `local`. A time that they leave out is the
    instant right after the gap."""
    early = _offset(local.replace(tzinfo=zone, fold=0))
    if early < _offset(local.replace(tzinfo=zone, fold=1)):  # a gap, see PEP 495
        approximately = (local - early).replace(tzinfo=UTC)
        for year in (approximately.year, (approximately - DAY).year):
            for transition in transitions(zone, year):
                if transition.before <= local.replace(tzinfo=UTC) - transition.at < transition.after:
                    return transition.at
    return (local - early).replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def transitions(zone: ZoneInfo, year: int) -> tuple[Transition, ...]:
    """The transitions of a zone in a year of UTC. Two within one day that cancel each other out are not seen."""
    found = []
    day, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    before = offset_at(zone, day)
    while day < end:
        after = offset_at(zone, day + DAY)
        if after != before:
            found.append(Transition(_instant_of_change(zone, day, before), before, after))
        day, before = day + DAY, after
    return tuple(found)


def offset_at(zone: ZoneInfo, instant: datetime) -> timedelta:
    """What clocks in the zone are ahead of UTC at an instant."""
    return _offset(instant.astimezone(zone))


def _instant_of_change(zone: ZoneInfo, day: datetime, before: timedelta) -> datetime:
    same, other = day, day + DAY
    while other - same > SECOND:
        middle = same + (other - same) // 2
        middle = middle.replace(microsecond=0)
        same, other = (middle, other) if offset_at(zone, middle) == before else (same, middle)
    return other


def _offset(time: datetime) -> timedelta:
    found = time.utcoffset()
    assert found is not None
    return found


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())
