"""The task types of the acceptance tests; `start_worker` imports them into its workers."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psutil

from taskflow import Context, Retry, task

FORK = multiprocessing.get_context("fork")


@task("noop")
def noop(payload: dict[str, Any]) -> None:
    """Nothing."""


@task("record")
def record(payload: dict[str, Any], context: Context) -> None:
    """Append "task attempt" to the file `payload["file"]`: what a handler did, whatever its queue says about it.
    Takes `seconds` more (0 by default)."""
    with open(payload["file"], "a") as file:
        file.write(f"{context.task_id} {context.attempt}\n")
    time.sleep(payload.get("seconds", 0))


@task("slow")
def slow(payload: dict[str, Any]) -> None:
    """Take `seconds` (0.05 by default) in a thread."""
    time.sleep(payload.get("seconds", 0.05))


@task("book")
def book(payload: dict[str, Any], context: Context) -> None:
    """Write a row of `effects` in the transaction that completes the task. Takes `seconds` (0.01 by default) in it."""
    with context.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
        time.sleep(payload.get("seconds", 0.01))


@task("book_async")
async def book_async(payload: dict[str, Any], context: Context) -> None:
    """The same in the event loop."""
    async with context.transaction_async() as conn:
        await conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
        await asyncio.sleep(payload.get("seconds", 0.01))


@task("book_apart", isolation="process")
def book_apart(payload: dict[str, Any], context: Context) -> str:
    """The same in a process of its own. `dies`: it is killed after its block, at once."""
    with context.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))
        context.set_result(payload.get("result"))
        if payload.get("fails") and context.attempt == 1:
            raise ValueError("in the block")
    if payload.get("dies"):
        os.kill(os.getpid(), signal.SIGKILL)
    return str(payload.get("result"))


@task("kill_self")
def kill_self(payload: dict[str, Any]) -> None:
    """Take its worker process along."""
    os.kill(os.getpid(), signal.SIGKILL)


@task("bad_result")
def bad_result(payload: dict[str, Any]) -> str:
    """Return what PostgreSQL cannot store."""
    return "\u0000"


@task("large_result")
def large_result(payload: dict[str, Any]) -> str:
    """Return a text of `mebibytes`."""
    return "x" * (payload["mebibytes"] * 2**20)


class Forgetful(Retry):
    """An exception that is not made as its base wants it."""

    def __init__(self) -> None:
        pass


@task("broken_exception")
def broken_exception(payload: dict[str, Any]) -> None:
    """Raise what has none of the attributes that everybody counts on."""
    raise Forgetful


@task("open_files")
def open_files(payload: dict[str, Any], context: Context) -> None:
    """Open `count` files when the test's gate is open and keep them, as handlers with many sockets do."""
    wanted = payload["count"] + 200
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    with open(payload["gate"]) as gate:
        _mark("arrived", payload, context)
        fcntl.flock(gate, fcntl.LOCK_SH)
        kept_open.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(payload["count"]))
    _mark("left", payload, context)


kept_open: list[int] = []


@task("gives_up")
async def gives_up(payload: dict[str, Any]) -> None:
    """Wait for something that somebody else has cancelled; the task itself was not."""
    nobody_comes = asyncio.get_running_loop().create_future()
    nobody_comes.cancel()
    await nobody_comes


@task("echo_apart", isolation="process")
def echo_apart(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the payload from a process of its own."""
    return payload


@task("logs_apart", isolation="process", max_attempts=1)
def logs_apart(payload: dict[str, Any], context: Context) -> None:
    """Log that it has begun, and more often than is kept if `more` says so; then wait for ever, or end the process."""
    context.log("begun", where="apart")
    for number in range(payload.get("more", 0)):
        context.log("line", number=number)
    if payload["then"] == "wait":
        signal.pause()
    elif payload["then"] == "die":
        os._exit(9)


@task("threads_apart", isolation="process", max_attempts=1)
def threads_apart(payload: dict[str, Any], context: Context) -> None:
    """Log and report from twelve threads at once; one more begins when the handler has ended."""
    ended, together = threading.Event(), threading.Barrier(12)

    def talk(thread: int) -> None:
        for number in range(100):
            context.progress(number, "y" * 1_000)
        together.wait()
        context.log("x" * 10_000, thread=thread, more="z" * 8_000)
        for number in range(100):
            context.progress(number, "y" * 1_000)

    def talk_on() -> None:
        ended.wait()
        while True:
            context.progress(99, "late")
            context.log("late")
            time.sleep(0.01)

    threads = [threading.Thread(target=talk, args=(thread,), daemon=True) for thread in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threading.Thread(target=talk_on, daemon=True).start()
    threading.Timer(0.05, ended.set).start()


@task("ends_helpers", timeout=20, max_attempts=1)
def ends_helpers(payload: dict[str, Any]) -> dict[str, Any]:
    """End processes with SIGTERM: executed ones, forked ones at once after their start, and those of a pool."""
    executed = subprocess.Popen(["sleep", "600"])
    executed.terminate()
    forked = [FORK.Process(target=signal.pause) for _ in range(20)]
    for helper in forked:
        helper.start()
        helper.terminate()
    for helper in forked:
        helper.join()
    with FORK.Pool(4) as pool:
        squares = pool.map(math.sqrt, [4, 9])
    return {"executed": executed.wait(), "forked": {helper.exitcode for helper in forked} == {-15}, "pool": squares}


ends_helpers_apart = task("ends_helpers_apart", isolation="process", timeout=20, max_attempts=1)(ends_helpers.function)


@task("forks", timeout=20, max_attempts=1)
def forks(payload: dict[str, Any], context: Context) -> list[int]:
    """Fork processes that end each in another way, and return their exit codes, as they end."""
    context.log("before")
    codes = []
    for way in ("return", "exit", "exit_with", "say", "raise"):
        pid = os.fork()
        if pid == 0:
            context.progress(99, "in a fork")
            context.log("in a fork")
            match way:
                case "return":
                    return [99]
                case "exit":
                    sys.exit()
                case "exit_with":
                    sys.exit(3)
                case "say":
                    sys.exit("it says why")
            raise ValueError("it has raised")
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


forks_apart = task("forks_apart", isolation="process", timeout=20, max_attempts=1)(forks.function)


@task("forks_async", timeout=20, max_attempts=1)
async def forks_async(payload: dict[str, Any], context: Context) -> list[int]:
    """The same in the event loop."""
    return forks.function(payload, context)


@task("forks_on", max_attempts=1)
def forks_on(payload: dict[str, Any], context: Context) -> int:
    """Fork a process that leaves when the gate opens, and return its id without waiting for it."""
    if (pid := os.fork()) == 0:
        with open(payload["gate"]) as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)
        sys.exit()
    return pid


forks_on_apart = task("forks_on_apart", isolation="process", max_attempts=1)(forks_on.function)


@task("confused_apart", isolation="process", max_attempts=1)
def confused_apart(payload: dict[str, Any], context: Context) -> None:
    """Say through its process's pipe that another attempt has ended."""
    context._attempt._pipe.send(((0, 7), "ended", None, 0))  # type: ignore[attr-defined]


def _group_of(pid: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return None


@task("helped_apart", isolation="process", max_attempts=1)
def helped_apart(payload: dict[str, Any], context: Context) -> None:
    """Start a process, in the `way` that the payload says, that stays as long as nobody kills it; then wait for ever,
    or be killed if it `dies`."""
    match payload["way"]:
        case "forked":
            FORK.Process(target=signal.pause).start()
        case "executed":
            os.system("sleep 600 &")
        case "unseen":  # by a library: the interpreter does not know of it
            if ctypes.PyDLL(None).fork() == 0:
                signal.pause()
    with open(payload["file"], "w") as file:
        file.write(" ".join(str(pid) for pid in psutil.pids() if pid != os.getpid() and _group_of(pid) == os.getpid()))
    if payload["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)
    _mark("arrived", payload, context)
    signal.pause()


@task("spin")
def spin(payload: dict[str, Any]) -> None:
    """Use the processor for `seconds` (0.1 by default) in a thread."""
    _spin(payload)


@task("spin_apart", isolation="process")
def spin_apart(payload: dict[str, Any], context: Context) -> None:
    """The same in a process of its own, which can be killed; with a gate it leaves a mark there, and does not wait."""
    if "gate" in payload:
        _mark("arrived", payload, context)
    _spin(payload)


def _spin(payload: dict[str, Any]) -> None:
    deadline = time.perf_counter() + payload.get("seconds", 0.1)
    while time.perf_counter() < deadline:
        pass


@task("blocking")
def blocking(payload: dict[str, Any], context: Context) -> dict[str, int]:
    """Wait at the test's gate in a thread, deaf to everything else."""
    with open(payload["gate"]) as gate:
        _mark("arrived", payload, context)
        fcntl.flock(gate, fcntl.LOCK_SH)
    _mark("left", payload, context)
    return {"attempt": context.attempt}


blocking_apart = task("blocking_apart", isolation="process")(blocking.function)


@task("progress")
def progress(payload: dict[str, Any], context: Context) -> None:
    """Say that it is half way, then wait at the test's gate."""
    context.progress(40, "half way")
    blocking(payload, context)


@task("async_wait")
async def async_wait(payload: dict[str, Any], context: Context) -> dict[str, int]:
    """Wait at the test's gate in the event loop; a cancellation leaves a mark."""
    with open(payload["gate"]) as gate:
        _mark("arrived", payload, context)
        try:
            while not _passes(gate.fileno()):
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            _mark("cancelled", payload, context)
            raise
    return {"attempt": context.attempt}


@task("in_a_thread")
async def in_a_thread(payload: dict[str, Any], context: Context) -> None:
    """Wait at the test's gate in a thread of asyncio's, which the interpreter joins at its end."""
    await asyncio.to_thread(blocking, payload, context)


@task("deaf")
async def deaf(payload: dict[str, Any], context: Context) -> None:
    """Wait at the test's gate in the event loop, whoever cancels it."""
    with open(payload["gate"]) as gate:
        _mark("arrived", payload, context)
        while not _passes(gate.fileno()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
    _mark("left", payload, context)


@task("until_cancelled")
def until_cancelled(payload: dict[str, Any], context: Context) -> None:
    """Run in a thread until the task is cancelled, leave a mark and end as cancelled."""
    _mark("arrived", payload, context)
    while not context.cancelled:
        time.sleep(0.01)
    _mark("cancelled", payload, context)
    context.heartbeat()


def _passes(gate: int) -> bool:
    try:
        fcntl.flock(gate, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _mark(kind: str, payload: dict[str, Any], context: Context) -> None:
    open(f"{payload['gate']}-{kind}-{context.task_id}-{context.attempt}", "w").close()
