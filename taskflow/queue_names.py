"""What a queue may be called; the database has the same rule, as a constraint of its domain `queue_name`."""

from __future__ import annotations

import re
from typing import TypeGuard

QUEUE_PATTERN = r"^[A-Za-z0-9._:-]{1,100}$"
QUEUE_RULE = "1 to 100 letters, digits or any of . - _ :"
_QUEUE = re.compile(QUEUE_PATTERN)


def is_queue_name(value: object) -> TypeGuard[str]:
    """Whether a queue can have this name."""
    return isinstance(value, str) and _QUEUE.fullmatch(value) is not None
