"""Real worker processes for the benchmarks: started as a user would, ended by their process ids."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from taskflow.bench.process_stats import family
from taskflow.errors import TaskflowError
from taskflow.processes import spawn

START_SECONDS = 60.0
STOP_SECONDS = 40.0


@dataclass(frozen=True, slots=True)
class Workers:
    """One `taskflow worker` and what it started."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]

    def pids(self) -> list[int]:
        """The supervisor, where there is one, and the worker processes."""
        return family(self.process.pid)

    def must_run(self) -> None:
        """Raises `TaskflowError` with the end of what it printed if the process has gone."""
        if self.process.poll() is not None:
            raise TaskflowError(f"the worker ended with {self.process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        """The last lines of what the workers printed."""
        self.output.seek(0)
        return b"\n".join(self.output.read().splitlines()[-20:]).decode(errors="replace")


@contextlib.contextmanager
def running_workers(
    dsn: str,
    *,
    processes: int = 1,
    concurrency: int = 10,
    queues: Sequence[str] = ("default",),
    drain_timeout: float = 25.0,
) -> Iterator[Workers]:
    """Run `taskflow worker` with its defaults, but for what is given, until the block ends."""
    command = [sys.executable, "-m", "taskflow", "worker", "--import", "taskflow.bench.handlers"]
    command += ["--queues", ",".join(queues), "--concurrency", str(concurrency), "--processes", str(processes)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKFLOW_")}
    environment |= {"DATABASE_URL": dsn, "TASKFLOW_DRAIN_TIMEOUT": str(drain_timeout)}
    with tempfile.TemporaryFile() as output:
        process = spawn(command, environment=environment, output=output)
        try:
            yield Workers(process, output)
        finally:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and after a while SIGKILL, to a process and what it started."""
    members = family(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def wait_until(done: Callable[[], bool], what: str, *workers: Workers, seconds: float, every: float = 0.05) -> None:
    """Ask again and again until `done()`. Raises `TaskflowError` when a worker ends or `seconds` are over."""
    limit = time.monotonic() + seconds
    while not done():
        for worker in workers:
            worker.must_run()
        if time.monotonic() > limit:
            words = "\n".join(worker.last_words() for worker in workers)
            raise TaskflowError(f"waited {seconds:g} s in vain for {what}\n{words}".rstrip())
        time.sleep(every)
