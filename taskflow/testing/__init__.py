"""For tests of programs that use taskflow: a database of their own, tasks run in the test, what was enqueued.

With pytest the fixtures of `taskflow.testing.plugin` are there as soon as taskflow is installed. Without it::

    from taskflow import testing

    with testing.harness() as taskflow:  # or self.enterContext(testing.harness()) in a unittest.TestCase
        shop.order({"article": "pen"})
        taskflow.assert_enqueued("invoice", {"article": "pen"})
        taskflow.drain()

Nothing is imported before it is used: the plugin is loaded by every run of pytest beside an installed taskflow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskflow.testing.databases import database
    from taskflow.testing.harnesses import Harness, harness
    from taskflow.testing.inline import AttemptFailed, NoHandlerWarning, Run

_HOME_OF = {
    "AttemptFailed": "taskflow.testing.inline",
    "Harness": "taskflow.testing.harnesses",
    "NoHandlerWarning": "taskflow.testing.inline",
    "Run": "taskflow.testing.inline",
    "database": "taskflow.testing.databases",
    "harness": "taskflow.testing.harnesses",
}

__all__ = ["AttemptFailed", "Harness", "NoHandlerWarning", "Run", "database", "harness"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'taskflow.testing' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
