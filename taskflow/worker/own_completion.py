"""How far an attempt is that completes its task itself, in a transaction of its handler."""

from __future__ import annotations

from enum import Enum
from typing import Any

from taskflow.errors import TaskflowError


class Stage(Enum):
    """OPEN: its block runs. IN_DOUBT: the task is completed in it and COMMIT was sent, with no answer yet, or never."""

    OPEN = "open"
    IN_DOUBT = "in doubt"
    COMMITTED = "committed"


MISTAKES = {
    Stage.OPEN: "context.transaction() is open already: nest with conn.transaction(), which is a savepoint",
    Stage.IN_DOUBT: "the COMMIT of this attempt's transaction got no answer: a second one could do its work twice",
    Stage.COMMITTED: (
        "this attempt has completed its task already, at the end of its first context.transaction(): put what belongs "
        "together into one block"
    ),
}


class OwnCompletion:
    """The completion in a handler's transaction; of an attempt at most one is ever committed.

    `result` is what the handler has given, `stored` its JSON text once it is in the database. `released`: the next
    task of a concurrency key may be claimed now. `told`: everything that follows the end of a task has been done.
    """

    __slots__ = ("released", "result", "stage", "stored", "told")

    def __init__(self) -> None:
        self.stage = Stage.OPEN
        self.result: Any = None
        self.stored: str | None = None
        self.released = False
        self.told = False

    @classmethod
    def begin(cls, before: OwnCompletion | None) -> OwnCompletion:
        """A new one, for an attempt that has had `before`. Raises `TaskflowError` if that is not rolled back."""
        if before is not None:
            raise TaskflowError(MISTAKES[before.stage])
        return cls()
