"""A process that runs handlers with isolation="process", one after the other, for its parent at the end of a pipe.

It takes (task, timeout, worker id, seconds since the claim), and sends ("progress", percent, message), ("log", entry)
and ("ended", outcome, how many log entries were dropped); of a transaction in which its handler completes the task,
("commit_begins",) and then ("committed", result, released) or ("rolled_back",). It ends when the pipe does.

Started as ``python -m taskflow.worker.process_child``, with the settings from the environment.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import orjson

from taskflow import settings as settings_module
from taskflow.errors import TaskflowError
from taskflow.tasks.logs import Logs
from taskflow.tasks.outcome import Failed, Outcome, Succeeded
from taskflow.tasks.registry import registry
from taskflow.worker.attempt import Attempt
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.executor import run_sync


class PipedAttempt(Attempt):
    """An attempt whose progress goes through the pipe. A cancelled one is killed, so nobody need ask."""

    __slots__ = ("pipe",)
    pipe: Connection

    def report_progress(self, percent: int, message: str | None) -> None:
        self.pipe.send(("progress", percent, message))

    def log(self, entry: bytes) -> None:
        self.logs = self.logs or Logs()
        if self.logs.add(entry):
            self.pipe.send(("log", entry))

    def commit_begins(self) -> None:
        super().commit_begins()
        self.pipe.send(("commit_begins",))

    def committed(self, stored: str | None, *, released: bool) -> None:
        super().committed(stored, released=released)
        self.pipe.send(("committed", stored, released))

    def rolled_back(self) -> None:
        super().rolled_back()
        self.pipe.send(("rolled_back",))


def load_handlers(imports: tuple[str, ...]) -> None:
    """Import the modules that declare handlers, the built-in ones included."""
    sys.path.insert(0, os.getcwd())
    for module in ("taskflow.handlers", *imports):
        importlib.import_module(module)


def serve(pipe: Connection, connections: HandlerConnections) -> None:
    """Run what comes through the pipe until it closes."""
    while True:
        try:
            work = pipe.recv()
        except EOFError:
            return
        outcome, dropped = _run(pipe, connections, *work)
        pipe.send(("ended", _portable(outcome), dropped))


def _portable(outcome: Outcome) -> Outcome:
    """The outcome with its result as the plain values that will be stored: the parent need not know the handler's
    classes, and does not run their code."""
    if not isinstance(outcome, Succeeded) or outcome.result is None:
        return outcome
    try:
        return Succeeded(orjson.loads(orjson.dumps(outcome.result)))
    except (TypeError, ValueError) as error:
        return Failed(f"the result cannot be stored as JSON: {error}", final=True)


def _run(
    pipe: Connection,
    connections: HandlerConnections,
    task: Any,
    timeout_seconds: float,
    worker_id: int,
    waited_seconds: float,
) -> tuple[Outcome, int]:
    handler = registry.get(task.type)
    if handler is None:
        return Failed(f"the process for handlers does not know the type {task.type!r}; is its module imported?"), 0
    claimed = time.monotonic() - waited_seconds
    attempt = PipedAttempt(task, handler, worker_id, claimed, timeout_seconds, connections)
    attempt.pipe = pipe
    attempt.start()
    outcome = run_sync(attempt)
    return outcome, attempt.logs.dropped if attempt.logs is not None else 0


def main() -> None:
    """Entry point: the pipe's file descriptor is the only argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C reaches everybody; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    settings = settings_module.load()
    try:
        load_handlers(settings.imports)
    except (ImportError, TaskflowError) as error:
        sys.exit(f"taskflow: the handlers cannot be imported: {error}")
    serve(pipe, HandlerConnections(settings.database_url, lambda: None))


if __name__ == "__main__":
    main()
