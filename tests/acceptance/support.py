"""Real processes for the acceptance tests: started as users start them, watched by their logs, never left behind.

Tests use the fixtures `start_worker`, `start_server`, `wait_until` and `gate` of conftest.py, which are made of this.
"""

from __future__ import annotations

import fcntl
import inspect
import json
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg

from tests.forked import ForkedProcess, start_taskflow

ROOT = Path(__file__).parents[2]
TASKS = "tests.acceptance.tasks_for_tests"
MARK = "ACCEPTANCE_TEST_MARK"
POLL_SECONDS = 0.02
LOG_CHARACTERS_SHOWN = 6000

T = TypeVar("T")
ProcessT = TypeVar("ProcessT", bound="Process")


class Process:
    """One `taskflow` command; what it prints goes to a file, which `logs` reads."""

    def __init__(self, name: str, popen: ForkedProcess, log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._popen = popen

    @property
    def pid(self) -> int:
        """Its process id; with `--processes` that of the supervisor."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet; a stopped (SIGSTOP) process is running too."""
        return self._popen.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, minus the signal if one ended it."""
        return self._popen.poll()

    def children(self) -> list[int]:
        """The ids of the processes that it has started and that still run, theirs included."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def signal(self, number: int) -> None:
        """Send it a signal, as `kill` does; it alone, not its children."""
        self._popen.send_signal(number)

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM, wait, and return the exit code. Fails, with the logs, if it has not ended by then."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def wait(self, timeout: float = 40.0) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} has not ended within {timeout:g} s\n{self.shown_logs()}") from None

    def logs(self) -> str:
        """All that it has printed so far."""
        return self.log_file.read_text(errors="replace")

    def events(self) -> list[dict[str, Any]]:
        """Its log lines as objects; lines that are no JSON (a traceback, a warning of the interpreter) are left out."""
        return list(_json_objects(self.logs()))

    def shown_logs(self) -> str:
        """The end of its logs, for the message of a failed test."""
        state = "running" if self.running else f"ended with {self.exit_code}"
        return f"--- {self.name} (pid {self.pid}, {state}):\n{self.logs()[-LOG_CHARACTERS_SHOWN:]}"


class Server(Process):
    """`taskflow server`, at `url`."""

    url: str


def _json_objects(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


class Processes:
    """All processes of one test. At its end `close` kills what is left, each by its id, grandchildren included."""

    def __init__(self, log_directory: Path, *, measured: bool = True) -> None:
        self._log_directory = log_directory
        self._measured = measured
        self._mark = uuid.uuid4().hex
        self.started: list[Process] = []

    def start_worker(self, dsn: str, *args: str, env: Mapping[str, str] | None = None) -> Process:
        """Start `taskflow worker` with the types of `tasks_for_tests`; `args` as on the command line."""
        return self._start(Process, ("worker", "--import", TASKS, *args), dsn, env)

    def start_server(self, dsn: str, *args: str, env: Mapping[str, str] | None = None) -> Server:
        """Start `taskflow server` on a free port, without keys unless `env` says so, and wait until it listens."""
        port = free_port()
        environment = {"PORT": str(port), "TASKFLOW_AUTH": "off", **(env or {})}
        server = self._start(Server, ("server", *args), dsn, environment)
        server.url = f"http://127.0.0.1:{port}"
        self.wait_until(lambda: not server.running or _listens(port), what="the server listens")
        assert server.running, server.shown_logs()
        return server

    def start(self, *args: str, dsn: str, env: Mapping[str, str] | None = None) -> Process:
        """Start any other command: `start("scheduler", dsn=dsn)`."""
        return self._start(Process, args, dsn, env)

    def _start(self, kind: type[ProcessT], args: tuple[str, ...], dsn: str, env: Mapping[str, str] | None) -> ProcessT:
        name = f"{args[0]}-{len(self.started) + 1}"
        log_file = self._log_directory / f"{name}.log"
        environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "TASKFLOW_LOG_FORMAT": "json",
            MARK: self._mark,
            **(env or {}),
        }
        process = kind(name, start_taskflow(args, environment, log_file, measured=self._measured), log_file)
        self.started.append(process)
        return process

    def wait_until(self, condition: Callable[[], T], timeout: float = 30.0, what: str | None = None) -> T:
        """Ask `condition` every 20 ms until it is true, and return what it returned.

        A database that is away or refuses (it restarts, perhaps) counts as "not yet". Fails after `timeout` seconds
        with `what` was waited for (the condition's source by default), its last answer and the logs of all processes.
        """
        deadline = time.monotonic() + timeout
        while True:
            answer: Any
            try:
                answer = condition()
            except psycopg.OperationalError as error:
                answer, shown = None, repr(error)
            else:
                shown = repr(answer)
            if answer:
                return answer  # type: ignore[no-any-return]
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {timeout:g} s in vain until: {what or _source(condition)}\nthe last answer was {shown}\n"
                    + "\n".join(process.shown_logs() for process in self.started)
                )
            time.sleep(POLL_SECONDS)

    def left_over(self) -> list[psutil.Process]:
        """The processes of this test that still run, also those whose parent is gone."""
        sessions = {process.pid for process in self.started}
        return [process for process in psutil.process_iter() if self._is_ours(process, sessions)]

    def _is_ours(self, process: psutil.Process, sessions: set[int]) -> bool:
        """By its session, or by its environment if it has a session of its own."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return os.getsid(process.pid) in sessions or process.environ().get(MARK) == self._mark
        except OSError:
            return False
        except psutil.Error:
            return False  # it ended meanwhile, or belongs to somebody else

    def close(self) -> None:
        """Kill what is left. Twice, because a supervisor may have started something in between."""
        for _ in range(2):
            for process in self.left_over():
                process.kill()
            for started in self.started:
                if started.running:
                    started.kill()


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _source(condition: Callable[[], Any]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except OSError:
        return repr(condition)


class Gate:
    """Holds the tasks of the types `blocking` and `async_wait` until the test opens it.

    It is a lock on a file: the test has it, the handlers wait for it, and it opens by itself if the test dies.
    Payload: ``gate.payload``. `arrivals` says which attempts have come to it.
    """

    def __init__(self, directory: Path, name: str = "gate") -> None:
        self.path = directory / name
        self._file = self.path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    @property
    def payload(self) -> dict[str, str]:
        """The payload of a task that is to wait here."""
        return {"gate": str(self.path)}

    def arrivals(self) -> list[tuple[int, int]]:
        """(task id, attempt) of all that have begun to wait here, in order of the ids."""
        return self._marks("arrived")

    def departures(self) -> list[tuple[int, int]]:
        """(task id, attempt) of all `blocking` that were let through and have returned, or are about to."""
        return self._marks("left")

    def cancellations(self) -> list[tuple[int, int]]:
        """(task id, attempt) of all `async_wait` and `until_cancelled` that were told to stop."""
        return self._marks("cancelled")

    def _marks(self, kind: str) -> list[tuple[int, int]]:
        names = [path.name.split("-") for path in self.path.parent.glob(f"{self.path.name}-{kind}-*")]
        return sorted((int(task_id), int(attempt)) for *_, task_id, attempt in names)

    def open(self) -> None:
        """Let all through, those who come later too."""
        self._file.close()
