"""Every exception of taskflow, in one tree.

::

    TaskflowError
    ├── SettingsError           a setting is missing or wrong; all problems at once
    ├── RegistrationError       a handler or a task type is declared wrongly
    ├── HandlersNotImported     a module that declares handlers raises something when it is imported
    ├── InvalidTask             a task that cannot be stored as given
    │   └── InvalidPayload      its payload does not fit the type's model
    ├── InvalidSchedule         a schedule that cannot fire as given
    ├── InvalidFilter           a filter that cannot be read, or names what there is not
    │   └── FilterTooBroad      it would read all history
    ├── TaskNotFound            no task has that id (or the caller may not see it)
    ├── WrongState              the task's state does not allow this
    │   └── UniqueConflict      another live task has the same type and unique_key
    ├── QueueFull               as many tasks wait in the queue as its max_depth allows
    ├── WaitTimeout             the task has not ended in the time given
    ├── AttemptLost             the attempt is not this worker's any more
    ├── DatabaseUnavailable     PostgreSQL cannot be reached, or went away
    │   └── CommitUnknown       it went away at COMMIT, and gave no answer
    ├── SchemaMismatch          the database's schema is older or newer than this version needs
    └── NotAllowed              the database role or API key lacks a right
        └── LoginRefused        PostgreSQL does not let the login in
            └── DatabaseMissing it has no database of this name

    Signal                      raised by handlers to choose what becomes of the attempt
    ├── Retry                   fail this attempt, try again after a time of its own
    ├── Snooze                  try again later, not charged as a failure
    ├── Cancel                  end as cancelled
    └── DeadLetter              end as dead letter (or failed), no further attempt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta


class TaskflowError(Exception):
    """The root: ``except TaskflowError`` catches everything that taskflow raises on its own."""


class SettingsError(TaskflowError):
    """One or more settings are missing or wrong. `problems` lists each as one line."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class HandlersNotImported(TaskflowError):
    """Modules that declare handlers raised something when they were imported. `problems` lists each as one line."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class RegistrationError(TaskflowError):
    """A handler was declared with an option, a signature or a name that cannot work."""


class InvalidTask(TaskflowError):
    """The task cannot be stored as given; `constraint` names the broken rule where the database found it."""

    def __init__(self, message: str, *, constraint: str | None = None) -> None:
        super().__init__(message)
        self.constraint = constraint


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with a payload.

    - `pointer`: where, as an RFC 6901 JSON pointer: "/count", or "" for all of it.
    - `code`: a stable word for what it is, such as "missing".
    - `detail`: a sentence.
    """

    pointer: str
    code: str
    detail: str


class InvalidPayload(InvalidTask):
    """The payload does not fit the model of its type; `problems`, a tuple of `FieldProblem`, says where and why."""

    def __init__(self, message: str, problems: Sequence[FieldProblem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class InvalidFilter(TaskflowError):
    """A filter cannot be read; `position` is the character, counted from 1, at which that shows, if at any."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message if position is None else f"{message} (at character {position} of the filter)")
        self.position = position


class FilterTooBroad(InvalidFilter):
    """The filter asks for the content of tasks and would have to read all history for it."""


class InvalidSchedule(TaskflowError):
    """A schedule cannot fire as given: `field` is wrong, `code` a stable word for why, `detail` a sentence."""

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.code = code
        self.detail = detail


class TaskNotFound(TaskflowError):
    """No task has this id (`task_id`), or the caller's role may not see it."""

    def __init__(self, task_id: int | str) -> None:
        super().__init__(f"There is no task {task_id}. It may have been removed by retention.")
        self.task_id = task_id


class WrongState(TaskflowError):
    """The task's state does not allow what was asked; `state` is the one it is in."""

    def __init__(self, message: str, *, state: str | None = None) -> None:
        super().__init__(message)
        self.state = state


class UniqueConflict(WrongState):
    """Another live task has the same type and unique key; `conflicting_task_id` is its id."""

    def __init__(self, message: str, *, conflicting_task_id: int | None = None) -> None:
        super().__init__(message)
        self.conflicting_task_id = conflicting_task_id


class QueueFull(TaskflowError):
    """As many tasks wait in the queue as its `max_depth` allows, so nothing was stored: try again when some have been
    taken. The transaction is to be rolled back."""


class WaitTimeout(TaskflowError):
    """The task had not ended when the time given to `wait` was up. It goes on."""


class DatabaseUnavailable(TaskflowError):
    """PostgreSQL cannot be reached or closed the connection; nothing was lost that had been acknowledged."""


class CommitUnknown(DatabaseUnavailable):
    """The connection was lost at COMMIT, so nobody knows yet whether the transaction was committed.

    A handler lets it pass: the worker finds out, and runs the task again only if nothing was committed.
    """


class AttemptLost(TaskflowError):
    """The attempt is not this worker's any more: it was given up for dead, or somebody else has ended it. What the
    handler wrote in its transaction is rolled back."""


class SchemaMismatch(TaskflowError):
    """The schema in the database does not fit this version of taskflow; run ``taskflow migrate``."""


class NotAllowed(TaskflowError):
    """The database role or the API key lacks the right to do this."""


class LoginRefused(NotAllowed):
    """PostgreSQL does not let the login in; what is given at the next try may be right."""


class DatabaseMissing(LoginRefused):
    """PostgreSQL has no database of this name."""


class Signal(Exception):  # no "Error": these are outcomes that a handler chooses
    """The root of what a handler raises to choose the outcome of its attempt. It is no `TaskflowError`."""


LONGEST_SECONDS = 100 * 365.25 * 86_400
"""A hundred years: longer is no delay, no duration and no interval."""


def _seconds(value: float | timedelta, name: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds <= LONGEST_SECONDS:  # NaN is not
        return float(max(0.0, seconds))
    raise ValueError(f"{name} must be a number of seconds or a timedelta, at most a hundred years, not {value!r:.100}")


class Retry(Signal):
    """Fail this attempt and try again, after `after` seconds (or a timedelta; None: by the task's retry policy).

    It is charged as a failure: with `max_attempts` used up the task ends as a dead letter. `message` is the error that
    is stored. `after` is at most a hundred years, else `ValueError`; less than none is none.
    """

    def __init__(
        self, message: str = "the handler asked for a retry", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.after_seconds = None if after is None else _seconds(after, "after")


class Snooze(Signal):
    """Run the task again after `seconds` (or a timedelta; at most a hundred years, else `ValueError`; less than none is
    none), without charging a failure. `reason` is stored with the attempt."""

    def __init__(self, seconds: float | timedelta, reason: str = "snoozed by the handler") -> None:
        super().__init__(reason)
        self.seconds = _seconds(seconds, "seconds")


class Cancel(Signal):
    """End the task as cancelled, with `reason` as its error."""

    def __init__(self, reason: str = "cancelled by the handler") -> None:
        super().__init__(reason)


class DeadLetter(Signal):
    """End the task as a dead letter at once (as failed, in a queue that keeps none), with `reason` as its error: no
    further attempt helps."""

    def __init__(self, reason: str = "given up by the handler") -> None:
        super().__init__(reason)
