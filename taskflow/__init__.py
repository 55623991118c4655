"""taskflow: a Postgres-native task queue. The public names, each imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.client import AsyncClient, Client, TaskHandler, task
    from taskflow.errors import (
        AttemptLost,
        Cancel,
        CommitUnknown,
        DatabaseMissing,
        DatabaseUnavailable,
        DeadLetter,
        FieldProblem,
        InvalidPayload,
        InvalidTask,
        LoginRefused,
        NotAllowed,
        QueueFull,
        RegistrationError,
        Retry,
        SchemaMismatch,
        SettingsError,
        Signal,
        Snooze,
        TaskflowError,
        TaskNotFound,
        UniqueConflict,
        WaitTimeout,
        WrongState,
    )
    from taskflow.tasks.context import Context
    from taskflow.tasks.execution import Execution
    from taskflow.tasks.new_task import Enqueued, NewTask
    from taskflow.tasks.registry import Registry, registry
    from taskflow.tasks.retry import RetryPolicy
    from taskflow.tasks.task import Priority, Task

_HOMES = {
    "taskflow.client": ("AsyncClient", "Client", "TaskHandler", "task"),
    "taskflow.errors": (
        "AttemptLost",
        "Cancel",
        "CommitUnknown",
        "DatabaseMissing",
        "DatabaseUnavailable",
        "DeadLetter",
        "FieldProblem",
        "InvalidPayload",
        "InvalidTask",
        "LoginRefused",
        "NotAllowed",
        "QueueFull",
        "RegistrationError",
        "Retry",
        "SchemaMismatch",
        "SettingsError",
        "Signal",
        "Snooze",
        "TaskNotFound",
        "TaskflowError",
        "UniqueConflict",
        "WaitTimeout",
        "WrongState",
    ),
    "taskflow.tasks.context": ("Context",),
    "taskflow.tasks.execution": ("Execution",),
    "taskflow.tasks.new_task": ("Enqueued", "NewTask"),
    "taskflow.tasks.registry": ("Registry", "registry"),
    "taskflow.tasks.retry": ("RetryPolicy",),
    "taskflow.tasks.task": ("Priority", "Task"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncClient",
    "AttemptLost",
    "Cancel",
    "Client",
    "CommitUnknown",
    "Context",
    "DatabaseMissing",
    "DatabaseUnavailable",
    "DeadLetter",
    "Enqueued",
    "Execution",
    "FieldProblem",
    "InvalidPayload",
    "InvalidTask",
    "LoginRefused",
    "NewTask",
    "NotAllowed",
    "Priority",
    "QueueFull",
    "RegistrationError",
    "Registry",
    "Retry",
    "RetryPolicy",
    "SchemaMismatch",
    "SettingsError",
    "Signal",
    "Snooze",
    "Task",
    "TaskHandler",
    "TaskNotFound",
    "TaskflowError",
    "UniqueConflict",
    "WaitTimeout",
    "WrongState",
    "registry",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'taskflow' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
