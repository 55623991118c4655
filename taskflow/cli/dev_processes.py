"""The processes of `taskflow dev`: started together, started again when one ends, ended together."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import click

from taskflow.errors import TaskflowError
from taskflow.processes import spawn

READY_SECONDS = 60.0
STOP_SECONDS = 20.0  # more than DRAIN_SECONDS, and with PostgreSQL's own end less than 30
SHORT_LIFE_SECONDS = 10.0
SHORT_LIVES_ALLOWED = 3


@dataclass(slots=True)
class Program:
    """One `taskflow` command that is kept running, with its flags."""

    command: Sequence[str]
    process: subprocess.Popen[bytes]
    started: float
    short_lives: int = 0

    @property
    def name(self) -> str:
        return self.command[0]


class Processes:
    """Runs commands of taskflow as child processes; leaving the block ends them all, and what they started."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._programs: list[Program] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, commands: Iterable[Sequence[str]]) -> None:
        for command in commands:
            self._programs.append(Program(command, self._spawn(command), time.monotonic()))

    def await_ready(self, url: str) -> None:
        """Return when `url` answers 200. Raises `TaskflowError` when a process ends before that or time is up."""
        deadline = time.monotonic() + READY_SECONDS
        while not _answers(url):
            for program in self._programs:
                if (code := program.process.poll()) is not None:
                    raise TaskflowError(f"taskflow {program.name} ended with exit code {code}; its reason is above.")
            if time.monotonic() > deadline:
                raise TaskflowError(f"{url} was not ready within {READY_SECONDS:.0f} seconds.")
            time.sleep(0.05)

    def watch(self) -> None:
        """Start again what ends, until a signal ends the waiting.

        Raises `TaskflowError` when PostgreSQL ended, or one of ours ends again and again at once.
        """
        while True:
            # Sleeps until any child ends and leaves it to its owner to collect it.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            program = next((one for one in self._programs if ended and one.process.pid == ended.si_pid), None)
            if program is None:
                raise TaskflowError("The embedded PostgreSQL ended; postgres/postgres.log beside its data says why.")
            self._start_again(program)

    def stop(self) -> None:
        """Ask all to end, wait up to 20 seconds, and kill what is left; a second Ctrl-C shortens the wait."""
        for program in self._programs:
            if program.process.poll() is None:
                program.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for program in self._programs:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    program.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for program in self._programs:
                self._end(program)
            self._programs.clear()

    def _start_again(self, program: Program) -> None:
        code = program.process.wait()
        self._end(program)
        lived = time.monotonic() - program.started
        program.short_lives = program.short_lives + 1 if lived < SHORT_LIFE_SECONDS else 0
        if program.short_lives >= SHORT_LIVES_ALLOWED:
            raise TaskflowError(f"taskflow {program.name} ends as soon as it is started; its reason is above.")
        click.echo(f"taskflow {program.name} ended with exit code {code}; starting it again.", err=True)
        program.process, program.started = self._spawn(program.command), time.monotonic()

    def _spawn(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        return spawn([sys.executable, "-m", "taskflow", *command], environment=self._environment)

    def _end(self, program: Program) -> None:
        """Kill the process and whatever it left behind in its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.process.pid, signal.SIGKILL)
        program.process.wait()


def _answers(url: str) -> bool:
    """Asked with the standard library's client: importing a better one would take longer than the wait."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=2.0)
    try:
        connection.request("GET", address.path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
