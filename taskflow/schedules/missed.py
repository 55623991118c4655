"""What becomes of fire times that went by while nobody fired them."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from itertools import islice
from typing import Literal, NamedTuple

from taskflow.schedules.timing import INSTANT, Timing

Missed = Literal["skip", "once", "all"]

# Late, but fired all the same: a pause of the leader is no downtime.
HICCUP = timedelta(seconds=5)
# The newest fire time is worth firing for so long, whatever the policy: another leader takes over within that time.
GRACE = timedelta(seconds=60)
MOST_AT_ONCE = 100


class Catchup(NamedTuple):
    """What to do now: the fire times to create tasks for, how many were given up, and which time comes next."""

    fires: tuple[datetime, ...]
    dropped: bool
    next: datetime | None


def catch_up(timing: Timing, missed: Missed, due: datetime, now: datetime) -> Catchup:
    """What to do at `now` about a schedule whose next fire time is `due`; also one that lies ahead.

    A fire time is missed when it is more than `GRACE` late, or more than `HICCUP` late and a newer one has passed too.
    Of those "skip" fires none, "once" the first, for all of them, and "all" the newest `MOST_AT_ONCE`.
    """
    resume = _first_not_missed(timing, due, now)
    if resume == due:
        return Catchup((due,), False, timing.next_after(due))
    match missed:
        case "skip":
            return Catchup((), True, resume)
        case "once":
            following = timing.next_after(due)
            return Catchup((due,), following != resume, resume)
        case "all":
            last = now - HICCUP if resume is None else min(now - HICCUP, resume - INSTANT)
            newest = _newest(timing, due, last)
            return Catchup(newest, newest[0] != due, resume)


def _first_not_missed(timing: Timing, due: datetime, now: datetime) -> datetime | None:
    if due > now - HICCUP:
        return due
    upcoming = timing.next_after(now - HICCUP)
    if upcoming is not None and upcoming <= now:
        return upcoming
    recent = deque(timing.between(max(due - INSTANT, now - GRACE), now - HICCUP), maxlen=1)
    return recent[0] if recent else upcoming


def _newest(timing: Timing, due: datetime, last: datetime) -> tuple[datetime, ...]:
    """The newest fire times from `due` to `last`. The search begins near them: a year of minutes is not walked
    through."""
    span = last - due
    while _are_more(timing, last - span / 2, last):
        span /= 2
    return tuple(deque(timing.between(last - span - INSTANT, last), maxlen=MOST_AT_ONCE))


def _are_more(timing: Timing, after: datetime, last: datetime) -> bool:
    return sum(1 for _ in islice(timing.between(after, last), MOST_AT_ONCE + 1)) > MOST_AT_ONCE
