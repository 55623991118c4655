"""The values of a filter: states, priorities, numbers, times and ages, and ranges of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from taskflow.errors import LONGEST_SECONDS, InvalidFilter
from taskflow.store.filter_terms import Moment, Range
from taskflow.store.filter_words import Value
from taskflow.tasks.task import STATES, Priority

STATE_ALIASES = {
    "queued": "pending",
    "processing": "running",
    "success": "completed",
    "done": "completed",
    "dead": "dead_letter",
    "canceled": "cancelled",
}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
AGE = re.compile(r"(?:[0-9]{1,9}[smhdw])+", re.ASCII)
DIGITS = re.compile(r"[0-9]{1,19}", re.ASCII)
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
COMPARISON = re.compile(r"(<=|>=|<|>)(.*)", re.DOTALL)
TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
FIRST_YEAR, LAST_YEAR = 1900, 2200
TIME_EXAMPLES = "a date such as 2026-01-31, a time such as 2026-01-31T09:30:00Z, or an age such as 1h or 2d"


def text(value: Value) -> str:
    """Any text."""
    return value.text


def state(value: Value) -> str:
    """A state as people see it, also by one of its older names."""
    word = value.text.lower()
    word = STATE_ALIASES.get(word, word)
    if word not in STATES:
        raise InvalidFilter(f"there is no state {value.text!r}; there are {', '.join(STATES)}", value.position)
    return word


def priority(value: Value) -> int:
    """0 to 3, or the word for it."""
    if value.text.upper() in Priority.__members__:
        return int(Priority[value.text.upper()])
    if value.text in ("0", "1", "2", "3"):
        return int(value.text)
    raise InvalidFilter(f"{value.text!r} is no priority: write 0 to 3, or low, normal, high, critical", value.position)


def big(value: Value) -> int:
    """A number that fits a bigint."""
    return _number(value, 2**63 - 1)


def small(value: Value) -> int:
    """A number that fits an integer."""
    return _number(value, 2**31 - 1)


def number_range(value: Value, of: Callable[[Value], int]) -> Range:
    """`5`, `5..9`, `<5` and so on."""
    compared = None if value.quoted else COMPARISON.fullmatch(value.text)
    if compared:
        return _compared(compared[1], of(_part(value, compared[2], compared.start(2))))
    ends = _ends(value)
    if ends is None:
        number = of(value)
        return Range(number, number)
    low, high = (None if end is None else of(end) for end in ends)
    if low is not None and high is not None and low > high:
        raise InvalidFilter(f"{value.text} is empty: the larger number comes last", value.position)
    return Range(low, high)


def time_range(value: Value, *, ahead: bool) -> Range:
    """A day, `a..b`, `<1h` and so on. An age counts back from now; with `ahead` it is a time until something."""
    compared = None if value.quoted else COMPARISON.fullmatch(value.text)
    if compared:
        end = _part(value, compared[2], compared.start(2))
        first, last = _moments(end, ahead=ahead)
        sign = compared[1]
        if isinstance(first, timedelta) and not ahead:
            # Younger than an hour is later than an hour ago.
            sign = TURNED[sign]
        return _compared(sign, last if sign in ("<=", ">") else first, whole=first is not last)
    ends = _ends(value)
    if ends is None:
        first, last = _moments(value, ahead=ahead)
        if isinstance(first, timedelta):
            raise InvalidFilter(f"{value.text} is an age: write <{value.text} or >{value.text}", value.position)
        return Range(first, last, with_high=first is last)
    low, high = (None if end is None else _moments(end, ahead=ahead) for end in ends)
    if not ahead and isinstance((low or high or (None,))[0], timedelta):
        low, high = high, low  # 1h..2h: between one and two hours ago
    return Range(
        None if low is None else low[0], None if high is None else high[1], with_high=high is None or high[0] is high[1]
    )


def _compared(sign: str, end: int | Moment, *, whole: bool = False) -> Range:
    """`whole`: the end stands for a day, of which `end` is the first moment, or the first one after it."""
    match sign:
        case "<":
            return Range(None, end, with_high=False)
        case "<=":
            return Range(None, end, with_high=not whole)
        case ">":
            return Range(end, None, with_low=whole)
        case _:
            return Range(end, None)


def _moments(value: Value, *, ahead: bool) -> tuple[Moment, Moment]:
    """The first moment of what is meant and the one after its last; the same object twice where it is one moment."""
    if AGE.fullmatch(value.text):
        seconds = sum(int(count) * UNITS[unit] for count, unit in re.findall(r"([0-9]+)([smhdw])", value.text))
        if seconds > LONGEST_SECONDS:
            raise InvalidFilter(f"{value.text} is more than a hundred years", value.position)
        distance = timedelta(seconds=seconds if ahead else -seconds)
        return distance, distance
    try:
        if DATE.fullmatch(value.text):
            day = date.fromisoformat(value.text)
            first = datetime(day.year, day.month, day.day, tzinfo=UTC)
            _check_year(first, value)
            return first, first + timedelta(days=1)
        time = datetime.fromisoformat(value.text.upper())
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidFilter(f"{value.text!r} is no time: write {TIME_EXAMPLES}", value.position) from None
    _check_year(time, value)
    return time, time


def _check_year(time: datetime, value: Value) -> None:
    if not FIRST_YEAR <= time.year < LAST_YEAR:
        raise InvalidFilter(f"{value.text} is not between {FIRST_YEAR} and {LAST_YEAR}", value.position)


def _ends(value: Value) -> tuple[Value | None, Value | None] | None:
    """The ends of `a..b`; None if it is no range."""
    if value.quoted or ".." not in value.text:
        return None
    low, _, high = value.text.partition("..")
    if not low and not high:
        raise InvalidFilter("a range needs a beginning or an end: 5..9, 5.. or ..9", value.position)
    return _part(value, low, 0) if low else None, _part(value, high, len(low) + 2) if high else None


def _part(value: Value, text: str, offset: int) -> Value:
    if not text:
        raise InvalidFilter(f"a value is missing after {value.text}", value.position + offset)
    return Value(text, False, value.position + offset)


def _number(value: Value, largest: int) -> int:
    if DIGITS.fullmatch(value.text) and int(value.text) <= largest:
        return int(value.text)
    raise InvalidFilter(
        f"{value.text[:40]!r} is no number from 0 to {largest}: write 5, 5..9, <5 or >=5", value.position
    )
