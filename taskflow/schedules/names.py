"""What a schedule may be called."""

from __future__ import annotations

import re

from taskflow.errors import InvalidSchedule

DIGITS = re.compile(r"[0-9]+", re.ASCII)


def check_name(name: str) -> None:
    """Raises `InvalidSchedule` for a new name that an address would take for the id of another schedule."""
    if DIGITS.fullmatch(name):
        raise InvalidSchedule(
            "name", "only_digits", "must not be digits only, which addresses take for an id: add a letter, as in job-27"
        )
