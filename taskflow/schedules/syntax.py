"""Which cron expressions are taken: five fields or an @word, and nothing that croniter reads as a surprise.

croniter also takes six and seven fields (seconds, years), fields that are drawn at random (`R`, `H`), and `5-5`, which
it reads as every value there is. A weekday of the month (`1#2`, `L5`) that stands beside other weekdays or beside days
of the month silently loses them. All of these are refused.
"""

from __future__ import annotations

import re

from taskflow.errors import InvalidSchedule

MAX_LENGTH = 500
WORDS = {
    "@minutely": "* * * * *",
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
FIELDS = ("minute", "hour", "day of month", "month", "day of week")
LIMITS = {"minute": (0, 59), "hour": (0, 23), "day of month": (1, 31), "month": (1, 12), "day of week": (0, 7)}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
NAMES = {
    "month": {name: number for number, name in enumerate(MONTHS, 1)},
    "day of week": {name: number for number, name in enumerate(WEEKDAYS)},
}
VALUE = r"(?:[0-9]+|[a-z]{3})"
PLAIN = re.compile(rf"(?:\*|{VALUE}(?:-{VALUE})?)(?:/[0-9]+)?", re.ASCII)
RANGE = re.compile(rf"({VALUE})-({VALUE})(?:/[0-9]+)?", re.ASCII)
SPECIAL = {
    "day of month": re.compile(r"l|[0-9]+-l|[0-9]+w|\?", re.ASCII),
    "day of week": re.compile(rf"{VALUE}#[1-5]|l[0-7]|\?", re.ASCII),
}
OF_THE_MONTH = re.compile(r".*#|l[0-7]", re.ASCII)


def fields_of(expression: str) -> tuple[str, ...]:
    """The five fields of an expression in lower case. Raises `InvalidSchedule` for what is not taken."""
    text = expression.strip().lower()
    if len(text) > MAX_LENGTH:
        raise invalid(f"has more than {MAX_LENGTH} characters")
    if text.startswith("@"):
        if text not in WORDS:
            raise invalid(f"there is no {text[:20]!r}; the words are {', '.join(WORDS)}")
        text = WORDS[text]
    fields = tuple(re.findall(r"[^ \t]+", text))
    if len(fields) != len(FIELDS):
        raise invalid(f"has {len(fields)} fields; there are five: {', '.join(FIELDS)}")
    for name, field in zip(FIELDS, fields, strict=True):
        for item in field.split(","):
            _check(name, item)
    _check_weekdays_of_the_month(fields[2], fields[4])
    return fields


def follows_elapsed_time(hours: str) -> bool:
    """Whether this field of hours names none in particular: a wildcard, a step, or all of them in other words."""
    return "*" in hours or "/" in hours or any(_covers_the_day(item) for item in hours.split(","))


def invalid(detail: str) -> InvalidSchedule:
    """An error about the expression."""
    return InvalidSchedule("cron", "invalid_cron", detail)


def _check(name: str, item: str) -> None:
    special = SPECIAL.get(name)
    if not PLAIN.fullmatch(item) and not (special and special.fullmatch(item)):
        raise invalid(f"{item[:50]!r} does not fit the {name}")
    first, last = LIMITS[name]
    for number in re.findall(r"[0-9]+", item.partition("/")[0]) if PLAIN.fullmatch(item) else ():
        if not first <= int(number) <= last:
            raise invalid(f"{item[:50]!r} does not fit the {name}: that is a number from {first} to {last}")
    span = RANGE.fullmatch(item)
    if span and _number(name, span[1]) == _number(name, span[2]):
        raise invalid(f"the range {item[:50]!r} begins where it ends: write {span[1]} or *")


def _number(name: str, value: str) -> int | str:
    return NAMES.get(name, {}).get(value, int(value) if value.isdigit() else value)


def _check_weekdays_of_the_month(days: str, weekdays: str) -> None:
    items = weekdays.split(",")
    special = [item for item in items if OF_THE_MONTH.match(item)]
    if special and (len(special) < len(items) or days not in ("*", "?")):
        raise invalid(f"{special[0]!r} cannot stand beside other weekdays or beside days of the month")
    if days.endswith("w") and weekdays not in ("*", "?"):
        raise invalid(f"{days[:50]!r} cannot stand beside days of the week")


def _covers_the_day(item: str) -> bool:
    span = RANGE.fullmatch(item)
    return span is not None and span[1].isdigit() and span[2].isdigit() and (int(span[2]) + 1 - int(span[1])) % 24 == 0
