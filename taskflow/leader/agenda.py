"""What the leader knows it has to fire in the next seconds: the schedules in the order of their times, worked out
ahead."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from taskflow.errors import InvalidSchedule
from taskflow.leader.looper import log
from taskflow.schedules import catch_up
from taskflow.schedules.missed import HICCUP
from taskflow.store.schedules import Firing, Schedule

MAX_REFUSED = 10_000


@dataclass(slots=True, eq=False)
class Entry:
    """A schedule and when to act on it; what to do then, as soon as that was worked out."""

    schedule: Schedule
    at: datetime
    firing: Firing | None = None


class Agenda:
    """The entries in order of time. Those of schedules that cannot fire are left out, and said once."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._refused: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def replace(self, schedules: Iterable[Schedule], now: datetime) -> None:
        """Know these schedules, and no others; what was worked out about one that is the same still is kept."""
        known = {entry.schedule: entry for entry in self._entries if entry.schedule.due is not None}
        wanted = (one for one in schedules if self._refused.get(one.id) != one.version)
        self._entries = [known.get(one) or Entry(one, one.due or now) for one in wanted]
        self._sort()

    def add(self, schedules: Iterable[Schedule]) -> None:
        """Know these too."""
        self._entries += [Entry(one, one.due) for one in schedules if one.due is not None]
        self._sort()

    def first(self) -> datetime | None:
        """When to act next."""
        return self._entries[0].at if self._entries else None

    def burst(self) -> int:
        """How many schedules, all due at the first time, may be fired by a transaction that waits for that time."""
        first = self.first()
        head = takewhile(lambda entry: entry.at == first, self._entries)
        return sum(1 for entry in head if not entry.schedule.alone)

    def take(self, now: datetime, most: int) -> list[Firing]:
        """Remove what is due at `now`, at most so many, and say what to do about each."""
        due = list(takewhile(lambda entry: entry.at <= now, self._entries[:most]))
        del self._entries[: len(due)]
        return self._worked_out(due, now)

    def take_burst(self, now: datetime) -> list[Firing]:
        """Remove what `burst` has counted, and say what to do about each."""
        first = self.first()
        taken = [entry for entry in self._entries if entry.at == first and not entry.schedule.alone]
        gone = set(map(id, taken))
        self._entries = [entry for entry in self._entries if id(entry) not in gone]
        return self._worked_out(taken, now)

    def work_out(self, now: datetime, most: int) -> bool:
        """Work out what to do about the first entries, at most so many; False if that was done for all."""
        todo = [entry for entry in self._entries if entry.firing is None and entry.at > now][:most]
        for entry in todo:
            entry.firing = self._plan(entry, now)
        return len(todo) == most

    def refuse(self, schedule: Schedule, reason: str) -> None:
        """Leave a schedule out until it is changed, and say why."""
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused[schedule.id] = schedule.version
        log.error("schedule_refused", schedule=schedule.name, schedule_id=schedule.id, reason=reason)

    def _worked_out(self, entries: list[Entry], now: datetime) -> list[Firing]:
        found = []
        for entry in entries:
            stale = entry.at <= now - HICCUP  # what is that late may be missed
            firing = self._plan(entry, now) if entry.firing is None or stale else entry.firing
            if firing is not None:
                found.append(firing)
        return found

    def _plan(self, entry: Entry, now: datetime) -> Firing | None:
        schedule = entry.schedule
        try:
            if schedule.due is None:
                return Firing(schedule, (), (), schedule.timing.next_after(now))
            fires, dropped, following = catch_up(schedule.timing, schedule.missed, schedule.due, now)
        except (InvalidSchedule, OverflowError) as error:
            self.refuse(schedule, str(error))
            return None
        if dropped:
            log.warning(
                "schedule_missed",
                schedule=schedule.name,
                since=schedule.due.isoformat(),
                policy=schedule.missed,
                tasks=len(fires),
            )
        run_at = tuple(_run_at(fire_at, schedule.jitter, now) for fire_at in fires)
        return Firing(schedule, fires, run_at, following)

    def _sort(self) -> None:
        self._entries.sort(key=lambda entry: entry.at)


def _run_at(fire_at: datetime, jitter: float, now: datetime) -> datetime:
    """The fire time itself, so that a task shows which it stands for; what is late is due now, not before all
    others."""
    due = fire_at if fire_at > now - HICCUP else now
    return due + timedelta(seconds=random.uniform(0, jitter)) if jitter else due
