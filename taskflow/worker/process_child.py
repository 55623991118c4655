"""A process that runs handlers with isolation="process", one after the other, for its parent at the end of a pipe.

First it sends ("ready",), when it has imported their modules, or ("not_ready", reason) and ends. Then it takes
(task, timeout, worker id, seconds since the claim), and sends ("progress", percent, message), ("log", entry) and
("ended", outcome, how many log entries were dropped); of a transaction in which its handler completes the task,
("commit_begins",) and then ("committed", result, released) or ("rolled_back",); each after the number of the attempt,
(task id, attempt). It ends when the pipe does. Processes that a handler forks do not have the pipe.

Started as ``python -m taskflow.worker.process_child``, with the settings from the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

import orjson

from taskflow import settings as settings_module
from taskflow.errors import TaskflowError
from taskflow.processes import let_forks_end, unmoved
from taskflow.tasks.logs import Logs
from taskflow.tasks.outcome import Failed, Outcome, Succeeded
from taskflow.tasks.registry import registry
from taskflow.worker.attempt import Attempt, number_of
from taskflow.worker.connections import HandlerConnections
from taskflow.worker.executor import run_sync
from taskflow.worker.imports import import_handlers


class PipedAttempt(Attempt):
    """An attempt that is told of through the pipe. A cancelled one is killed, so nobody need ask.

    A handler may report and log in threads of its own: they send one after the other, and nothing once it has ended,
    when the pipe belongs to the next attempt. In a process forked by the handler the pipe is closed: nothing is sent,
    nor the lock waited for, which may have been copied while somebody had it.
    """

    __slots__ = ("_ended", "_lock", "_number", "_pipe")

    def __init__(self, pipe: Connection, *attempt: Any) -> None:
        super().__init__(*attempt)
        self._pipe = pipe
        self._number = number_of(self)
        self._lock = threading.Lock()
        self._ended = False

    def report_progress(self, percent: int, message: str | None) -> None:
        super().report_progress(percent, message)
        self._tell("progress", percent, message)

    def log(self, entry: bytes) -> None:
        if self._pipe.closed:
            return
        with self._lock:
            self.logs = self.logs or Logs()
            if self.logs.add(entry) and not self._ended:
                self._send("log", entry)

    def commit_begins(self) -> None:
        super().commit_begins()
        self._tell("commit_begins")

    def committed(self, stored: str | None, *, released: bool) -> None:
        super().committed(stored, released=released)
        self._tell("committed", stored, released)

    def rolled_back(self) -> None:
        super().rolled_back()
        self._tell("rolled_back")

    def end(self, outcome: Outcome) -> None:
        """The handler has ended: nothing is told of it after this."""
        with self._lock:
            self._ended = True
            self._send("ended", outcome, self.logs.dropped if self.logs is not None else 0)

    def _tell(self, *message: Any) -> None:
        if self._pipe.closed:
            return
        with self._lock:
            if not self._ended:
                self._send(*message)

    def _send(self, *message: Any) -> None:
        self._pipe.send((self._number, *message))


def serve(pipe: Connection, connections: HandlerConnections) -> None:
    """Run what comes through the pipe until it closes."""
    while True:
        try:
            work = pipe.recv()
        except EOFError:
            return
        _run(pipe, connections, *work)


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
) -> None:
    handler = registry.get(task.type)
    claimed = time.monotonic() - waited_seconds
    attempt = PipedAttempt(pipe, task, handler, worker_id, claimed, timeout_seconds, connections)
    attempt.start()
    if handler is None:
        reason = f"the process for handlers does not know the type {task.type!r}; is its module imported?"
        attempt.end(Failed(reason))
    else:
        attempt.end(_portable(run_sync(attempt)))


def main() -> None:
    """Entry point: the pipe's file descriptor is the only argument."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of those who signal all processes at once: the parent decides
        signal.signal(number, unmoved)
        signal.siginterrupt(number, False)
    let_forks_end(unmoved)
    pipe = Connection(int(sys.argv[1]))
    os.set_inheritable(pipe.fileno(), False)  # what handlers execute does not keep it open
    os.register_at_fork(after_in_child=pipe.close)
    settings = settings_module.load()
    try:
        import_handlers(settings.imports)
    except TaskflowError as error:
        pipe.send(("not_ready", str(error)))
        sys.exit(f"taskflow: {error}")
    pipe.send(("ready",))
    serve(pipe, HandlerConnections(settings.database_url, lambda: None))


if __name__ == "__main__":
    main()
