"""`taskflow` commands as real processes without the second that each would spend importing the same modules.

A forking process has imported them, and forks itself for each command: what then runs is `taskflow.cli.main.main` in a
process with its own id, session, environment and output, which signals end as they would any other. There is one
for servers and one for all else, since only servers count in shared memory, which prometheus_client decides when it
is imported. How `python -m taskflow` starts from nothing is shown by the tests of `dev`, of the command line and of
the wheel.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from taskflow.processes import before_exec, spawn

ROOT = Path(__file__).parents[1]
METRICS = "PROMETHEUS_MULTIPROC_DIR"
UNMEASURED = {
    "COVERAGE_PROCESS_START": "",
    "COVERAGE_PROCESS_CONFIG": "",
}  # variables that keep coverage out of a process
OF_SERVERS = (
    "taskflow.web.serving.server",
    "taskflow.web.serving.gunicorn_worker",
    "taskflow.web.serving.gunicorn_log",
)
OF_OTHERS = ("taskflow.cli.commands.worker", "taskflow.worker", "taskflow.leader", "taskflow.handlers")


class ForkedProcess:
    """What `subprocess.Popen` is for a process that the forking one has started."""

    def __init__(self, pid: int, args: Sequence[str]) -> None:
        self.pid = pid
        self.args = args
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, status: int) -> None:
        """The forking process has waited for it."""
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def poll(self) -> int | None:
        """None while it runs; then its exit code, or minus the signal."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As `kill` does; nothing if it has ended."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # waited for, and we are about to be told
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Forking:
    """The test's end of a process that forks commands."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = spawn(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno()), *modules],
                end_with=signal.SIGKILL,
                environment={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
                pass_fds=[theirs.fileno()],
            )
        self._socket = ours
        self._pids: dict[int, ForkedProcess] = {}
        self._early: dict[int, int] = {}
        self._started: list[int] = []
        self._over = False
        self._changed = threading.Condition()
        threading.Thread(target=self._listen, name="forked", daemon=True).start()

    def start(self, args: Sequence[str], environment: Mapping[str, str], output: Path) -> ForkedProcess:
        """Run `taskflow args` with this environment and no other, and both outputs to the end of a file."""
        request = {
            "args": list(args),
            "environment": dict(environment),
            "output": str(output),
            "directory": str(Path.cwd()),
        }
        output.touch()  # whoever reads it at once finds it
        with self._changed:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            assert self._changed.wait_for(lambda: self._started or self._over, 60), "the forking process is silent"
            assert not self._over, "the forking process has ended"
            pid = self._started.pop()
            process = self._pids[pid] = ForkedProcess(pid, args)
            if pid in self._early:
                process.ended(self._early.pop(pid))
        return process

    def _listen(self) -> None:
        with suppress(OSError), self._socket.makefile() as lines:
            for line in lines:
                message = json.loads(line)
                with self._changed:
                    if "started" in message:
                        self._started.append(message["started"])
                        self._changed.notify_all()
                    elif (process := self._pids.pop(message["ended"], None)) is not None:
                        process.ended(message["status"])
                    else:  # sooner than `start` could enter it
                        self._early[message["ended"]] = message["status"]
        with self._changed:
            self._over = True
            self._changed.notify_all()


@cache
def forking(*, servers: bool, measured: bool) -> Forking:
    """The one of this kind, started when it is first needed; it ends with the tests."""
    environment = {} if measured else dict(UNMEASURED)
    if servers:  # what matters is that it is set: each server has a directory of its own
        environment[METRICS] = tempfile.gettempdir()
    return Forking(OF_SERVERS if servers else OF_OTHERS, environment)


def start_taskflow(
    args: Sequence[str], environment: Mapping[str, str], output: Path, *, measured: bool = True
) -> ForkedProcess:
    """`taskflow args` in a process that ends with this one."""
    environment = dict(environment) if measured else {**environment, **UNMEASURED}
    return forking(servers=args[0] == "server", measured=measured).start(args, environment, output)


def _serve(control: socket.socket, modules: Sequence[str]) -> dict[str, Any]:
    """In the forking process: fork for each request and tell who has ended. Returns in the forked ones."""
    for module in ("taskflow.cli.main", *modules):
        importlib.import_module(module)
    if servers := sys.modules.get("taskflow.web.app"):
        servers.resource_modules()
    assert (METRICS in os.environ) == ("prometheus_client" in sys.modules)
    assert threading.active_count() == 1, "a process with threads cannot be forked"
    gc.collect()
    gc.freeze()
    wake, wakeup = socket.socketpair()
    for end in (wake, wakeup):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup.fileno())
    requests = control.makefile()
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select()}
            if wake in ready:
                wake.recv(4096)
                _tell_of_the_dead(control)
            if control not in ready:
                continue
            line = requests.readline()
            if not line:
                sys.exit(0)
            prepare = before_exec(None, signal.SIGKILL)
            pid = os.fork()
            if pid == 0:
                break
            _send(control, {"started": pid})
    prepare()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for end in (wake, wakeup, control):
        end.close()
    request: dict[str, Any] = json.loads(line)
    return request


def _tell_of_the_dead(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(control, {"ended": pid, "status": status})


def _send(control: socket.socket, message: dict[str, int]) -> None:
    control.sendall(json.dumps(message).encode() + b"\n")


def _become(request: dict[str, Any]) -> NoReturn:
    """In the forked process: what exec would have made of it."""
    os.setsid()
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["directory"])
    sys.path[:0] = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part not in sys.path]
    sys.argv = ["taskflow", *request["args"]]
    from taskflow.cli.main import main

    main(prog_name="taskflow")
    sys.exit(0)


if __name__ == "__main__":
    _become(_serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))
