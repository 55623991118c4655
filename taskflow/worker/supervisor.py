"""Runs several worker processes and replaces those that die."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence

from taskflow.processes import spawn
from taskflow.stop_flag import StopFlag
from taskflow.telemetry import get_logger

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 10.0
HEALTHY_SECONDS = 30.0
GRACE_SECONDS = 8.0
LOOK_SECONDS = 0.1
EXIT_DRAINED = 3
"""The exit code of a process that an operator has drained. Not 0: a handler may end its process with that."""


class Member:
    """One of the processes, through all its lives. One that dies young is started again after a growing pause."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self.drained = False
        self._pause = FIRST_PAUSE_SECONDS
        self._start_at = 0.0
        self._started = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, now: float) -> int | None:
        """Start it if that is due; returns its exit code if it has just ended."""
        if self.process is None:
            if now >= self._start_at and not self.drained:
                self._started = now
                self.process = spawn(self._command)
            return None
        code = self.process.poll()
        if code is not None:
            self.process = None
            self.drained = code == EXIT_DRAINED
            self._pause = (
                FIRST_PAUSE_SECONDS
                if now - self._started > HEALTHY_SECONDS
                else min(LONGEST_PAUSE_SECONDS, 2 * self._pause)
            )
            self._start_at = now + self._pause
        return code


class Supervisor:
    """Keeps a process of each of `commands` running until `stop`; they are sent SIGTERM then and given time to drain.

    One that an operator has drained is not replaced; when all are, it is over. If the supervisor itself is killed the
    kernel sends them SIGTERM (on Linux).
    """

    def __init__(self, commands: Sequence[list[str]], drain_seconds: float) -> None:
        self._members = [Member(command) for command in commands]
        self._drain_seconds = drain_seconds
        self._stopping = StopFlag()
        self._log = get_logger("supervisor")

    def stop(self) -> None:
        """Begin to end; may be called from a signal handler, and again without effect."""
        self._stopping.set()

    def run(self, clock: Callable[[], float] = time.monotonic) -> int:
        """Supervise until `stop`; returns 0, or 1 if a process had to be killed at the end."""
        while not self._stopping.is_set() and not all(member.drained for member in self._members):
            for member in self._members:
                code = member.look(clock())
                if code is None:
                    continue
                if member.drained:
                    self._log.info("worker_process_drained", next="its place stays empty until the next start")
                else:
                    self._log.warning("worker_process_died", exit_code=code, next="starting another one")
            self._stopping.wait(LOOK_SECONDS)
        return self._end()

    def _end(self) -> int:
        alive = [member.process for member in self._members if member.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + self._drain_seconds + GRACE_SECONDS
        killed = 0
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._log.error("worker_process_killed", pid=process.pid, why="it did not end in time")
                process.kill()
                process.wait()
                killed += 1
        return 1 if killed else 0
