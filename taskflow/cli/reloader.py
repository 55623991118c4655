"""`taskflow worker --reload`: the worker in a process that is started anew whenever a Python file changes."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import click

from taskflow.processes import spawn
from taskflow.stop_flag import StopFlag

LOOK_SECONDS = 0.5
QUIET_SECONDS = 0.2
"""Between two looks that agree: an editor writes in steps, and a checkout writes many files."""
DRAIN_SECONDS = 5.0
"""What a handler has to end after a change, if its setting is longer: somebody waits for the new code."""
GRACE_SECONDS = 8.0
LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}

State = dict[str, tuple[int, int]]


def watched_roots(imports: Iterable[str], here: Path) -> list[Path]:
    """The current directory, and where the packages are that are imported from elsewhere (an editable install)."""
    roots = [here]
    for name in dict.fromkeys(module.partition(".")[0] for module in imports):
        spec = importlib.util.find_spec(name)  # of a top-level name: imports nothing
        places = [] if spec is None else spec.submodule_search_locations or [spec.origin or ""]
        for path in map(Path, places):
            if path.exists() and not any(path.is_relative_to(root) for root in roots):
                roots.append(path)
    return roots


def state_of(roots: Iterable[Path]) -> State:
    """Every Python file below these, or one of them itself, with the time of its last change and its size."""
    found: State = {}
    for root in roots:
        for entry in _python_files(root):
            try:
                status = os.stat(entry)
            except OSError:  # removed meanwhile
                continue
            found[entry] = (status.st_mtime_ns, status.st_size)
    return found


def _python_files(root: Path) -> Iterator[str]:
    if root.is_file():
        yield str(root)
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [
            name
            for name in subdirectories
            if name not in LEFT_OUT
            and not name.startswith(".")
            and not os.path.exists(os.path.join(directory, name, "pyvenv.cfg"))
        ]
        yield from (os.path.join(directory, name) for name in names if name.endswith(".py"))


def changed(before: State, after: State) -> list[str]:
    """The files that differ, came or went."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


class Reloader:
    """Runs `command` until `stop`, and anew after each change below `roots`. One that ended by itself, for an error in
    the code perhaps, is started by the next change."""

    def __init__(self, command: Sequence[str], roots: Sequence[Path], drain_seconds: float) -> None:
        self._command = list(command)
        self._roots = roots
        self._patience = drain_seconds + GRACE_SECONDS
        self._stopping = StopFlag()

    def stop(self) -> None:
        """Begin to end; may be called from a signal handler, and again without effect."""
        self._stopping.set()

    def run(self) -> int:
        """Watch until `stop`; returns the exit code of the last process."""
        before = state_of(self._roots)
        process = self._start()
        told = False
        while not self._stopping.wait(LOOK_SECONDS):
            after = self._settled(state_of(self._roots))
            if paths := changed(before, after):
                before = after
                _say(f"{_listed(paths)} changed; starting the worker again")
                self._end(process)
                process, told = self._start(), False
            elif not told and (code := process.poll()) is not None:
                told = True
                _say(f"the worker ended with exit code {code}; it is started again when a file changes")
        return self._end(process)

    def _settled(self, state: State) -> State:
        """The state when nothing changes any more."""
        while not self._stopping.wait(QUIET_SECONDS):
            if (later := state_of(self._roots)) == state:
                break
            state = later
        return state

    def _start(self) -> subprocess.Popen[bytes]:
        # A compiled file is believed if the second and the size are those of its source: too coarse for quick changes.
        return spawn(self._command, environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def _end(self, process: subprocess.Popen[bytes]) -> int:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._patience)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()


def run_reloading(command: Sequence[str], imports: Iterable[str], drain_seconds: float) -> int:
    """`Reloader.run` with the signals that end a worker; returns its exit code, 0 after a signal."""
    sys.path.insert(0, os.getcwd())
    reloader = Reloader(command, watched_roots(imports, Path.cwd()), drain_seconds)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        reloader.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return abs(reloader.run())


def _listed(paths: Sequence[str]) -> str:
    shown = [os.path.relpath(path) for path in paths[:3]]
    return ", ".join(shown) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _say(message: str) -> None:
    click.echo(f"reload: {message}", err=True)
