"""What the completer has to do about attempts that complete their tasks themselves, in transactions of their handlers.

Such an attempt comes twice: when it is committed, for everything that follows the end of a task, and when its handler
has ended, which must not be written any more. If its COMMIT got no answer it comes only then, and is written like any
other: its transaction keeps the row locked for as long as it may still be committed, so that the answer is the truth.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskflow.errors import CommitUnknown
from taskflow.store import tasks
from taskflow.store.tasks import Completed, Connection, Ended
from taskflow.tasks.outcome import Failed, Outcome, Succeeded, TimedOut
from taskflow.telemetry import get_logger
from taskflow.worker.attempt import Attempt
from taskflow.worker.ending import NO_RESULT, Ending, same_json
from taskflow.worker.events import error_of
from taskflow.worker.own_completion import Stage


class Written(NamedTuple):
    """A batch as it stands in the database now, see `Completed`. `released` is true where it is not known: to look
    for released keys once too often does no harm."""

    group: Sequence[Ending]
    ended: Sequence[Ended]
    released: bool


ROLLED_BACK = "the connection was lost at COMMIT, and nothing of the handler's transaction was committed"


class OwnCompletions:
    """The attempts whose transaction has come as far as COMMIT and whose handler's end has not been seen to."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._attempts: set[Attempt] = set()
        self._committed: deque[Ending] = deque()
        self._log = get_logger("completer")

    def __bool__(self) -> bool:
        return bool(self._attempts or self._committed)

    @property
    def untold(self) -> int:
        """How many are committed and wait for what follows."""
        return len(self._committed)

    # Called by whoever runs the handler

    def add(self, attempt: Attempt) -> None:
        """COMMIT is next."""
        self._attempts.add(attempt)

    def discard(self, attempt: Attempt) -> None:
        """Nothing was committed: it ends like any other."""
        self._attempts.discard(attempt)

    def committed(self, attempt: Attempt) -> None:
        """The task is completed."""
        self._committed.append(Ending(attempt, NO_RESULT, None, time.monotonic()))
        self._wake()

    # Called by the completer

    def first_committed(self) -> Ending | None:
        """The first one for which nothing has been done yet."""
        while self._committed:
            item = self._committed[0]
            if item.attempt.own is not None and not item.attempt.own.told:
                return item
            self._committed.popleft()
        return None

    def told(self, item: Ending) -> None:
        """For this one everything has been done."""
        if item.attempt.own is not None:
            item.attempt.own.told = True

    def to_write(self, batch: Sequence[Ending]) -> list[Ending]:
        """The batch without those that are completed; those are over with this. No success of a handler counts whose
        transaction is in doubt: what is written for it is written only if that was rolled back."""
        kept = []
        for item in batch:
            own = item.attempt.own
            if own is not None and own.stage is Stage.COMMITTED:
                self._attempts.discard(item.attempt)
                self._report(item)
            elif own is not None and own.stage is Stage.IN_DOUBT and _says_that_it_is_done_or_in_doubt(item.outcome):
                kept.append(item._replace(outcome=Failed(ROLLED_BACK)))
            else:
                kept.append(item)
        return kept

    def found_out(self, connection: Connection, group: Sequence[Ending], answer: Completed) -> Written:
        """The group was written. What was refused because its own transaction had been committed is a success."""
        refused = {(row.id, row.attempt): row for row in answer.ended if row.state is None}
        items: list[Ending] = []
        committed: list[Ending] = []
        for item in group:
            attempt, task = item.attempt, item.attempt.task
            row = refused.get((task.id, task.attempt))
            if (
                row is None
                or attempt not in self._attempts
                or not tasks.succeeded(connection, attempt.worker_id, task.id, task.attempt)
            ):
                items.append(item)
                continue
            del refused[task.id, task.attempt]
            answer.ended.remove(row)
            if attempt.own is None or not attempt.own.told:
                committed.append(item._replace(outcome=NO_RESULT, logs=None))
        for item in group:
            self._attempts.discard(item.attempt)
        for item in committed:
            self.told(item)
        return Written([*items, *committed], answer.ended, released=answer.released or bool(committed))

    def _report(self, item: Ending) -> None:
        attempt, outcome = item.attempt, item.outcome
        fields = {"task_id": attempt.task.id, "attempt": attempt.task.attempt, "type": attempt.task.type}
        if not isinstance(outcome, Succeeded):
            level = self._log.error if isinstance(outcome, Failed | TimedOut) else self._log.info
            level(
                "handler_failed_after_completion",
                error=error_of(outcome),
                traceback=outcome.traceback if isinstance(outcome, Failed) else None,
                next="nothing: its transaction had completed the task and is committed, so it is not run again",
                **fields,
            )
        elif outcome.result is not None and not same_json(
            outcome.result, attempt.own.stored if attempt.own is not None else None
        ):
            self._log.warning(
                "result_not_stored",
                why="the task was completed by context.transaction(), before the handler returned",
                next="give the result inside of the block: context.set_result(...)",
                **fields,
            )


def _says_that_it_is_done_or_in_doubt(outcome: Outcome | None) -> bool:
    match outcome:
        case Succeeded():
            return True
        case Failed(error=error):
            return error.startswith(f"{CommitUnknown.__name__}:")
    return False
