"""Whose unique key it is: a task of a queue that whoever asks may not see is not told of, only that there is one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from taskflow.errors import TaskNotFound, UniqueConflict
from taskflow.web.tasks.task_rows import check_visible


def taken_elsewhere() -> UniqueConflict:
    """The error for a unique key that a task has which whoever asks may not see."""
    return UniqueConflict("A live task of another queue, which this key may not see, has this unique key.")


@contextmanager
def rival_withheld() -> Iterator[None]:
    """A `UniqueConflict` leaves this block without the id of a task that whoever asks may not see. It goes around the
    transaction, since in one that has failed the task could not be looked up."""
    try:
        yield
    except UniqueConflict as error:
        if error.conflicting_task_id is not None:
            try:
                check_visible(error.conflicting_task_id)
            except TaskNotFound:
                raise UniqueConflict(str(error)) from error
        raise
