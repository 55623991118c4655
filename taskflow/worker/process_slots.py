"""Handlers with isolation="process": they can be killed, when they overrun their timeout or are cancelled."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, Pipe, wait
from queue import SimpleQueue
from typing import Any

from taskflow.errors import TaskflowError
from taskflow.processes import spawn
from taskflow.tasks.outcome import Cancelled, Failed, Outcome, TimedOut
from taskflow.worker.attempt import Attempt, number_of
from taskflow.worker.ending import ending
from taskflow.worker.executor import describe
from taskflow.worker.slots import Slots, take_all

LAST_WORDS_SECONDS = 0.5  # a killed one closes its end at once, unless another process has inherited it
LONGEST_POLL_SECONDS = 3600.0  # poll() takes no more than 24 days, a timeout may be 30
READY_SECONDS = 60.0
"""From the start of a child to its having imported the modules with the handlers."""
LOOK_SECONDS = 0.05  # while a child gets ready: whether its attempt is still to be run


class NotReady(TaskflowError):
    """A child will run no handler: their modules cannot be imported, or not in time, or it has ended over that."""


class AnotherAttempt(TaskflowError):
    """A child, or whoever else has its end of the pipe, speaks of another attempt than the one it is to run."""


class Child:
    """One process for handlers, and the pipe to it. `ready`: it has imported their modules."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.ready = False
        self._started = time.monotonic()
        self.attempt: Attempt | None = None
        self._lock = threading.Lock()
        self.pipe, theirs = Pipe()
        try:
            self._process = spawn(
                [sys.executable, "-m", "taskflow.worker.process_child", str(theirs.fileno())],
                end_with=signal.SIGKILL,
                environment=environment,
                pass_fds=[theirs.fileno()],
            )
        finally:
            theirs.close()
        self._end = _end_of(self._process.pid)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def hear(self, attempt: Attempt, seconds: float) -> tuple[Any, ...] | None:
        """What it says next of its attempt, or None if that is nothing within so many seconds.

        Raises `EOFError` if it has ended, also where a process that it has started keeps the pipe open.
        """
        ready = wait([self.pipe] if self._end is None else [self.pipe, self._end], seconds)
        if self.pipe in ready:
            return _received(self.pipe, attempt)
        if ready:
            raise EOFError
        return None

    def look(self) -> None:
        """Learn whether it is ready, waiting for a moment. Raises `NotReady` if it never will be."""
        told: tuple[Any, ...] | None = None
        gone = not self.alive
        try:
            told = self.pipe.recv() if self.pipe.poll(LOOK_SECONDS) else None
        except (EOFError, OSError):
            gone = True
            self.kill()  # it may live on without its end of the pipe
        match told:
            case ("ready",):
                self.ready = True
            case ("not_ready", reason):
                raise NotReady(reason)
            case _ if gone:
                raise NotReady(f"the handler's process {self.reap()} before it was ready")
            case _ if time.monotonic() - self._started > READY_SECONDS:
                raise NotReady(
                    f"the handler's process was not ready within {READY_SECONDS:.0f} s: it was still importing the "
                    "modules that declare handlers"
                )

    def kill(self, attempt: Attempt | None = None) -> None:
        """End it at once, and if that is to end an attempt, what its handler has started as well: a pool would wait for
        ever. Not what has a session or a group of its own. A process that has ended already is no error."""
        if attempt is not None and self._process.returncode is None:  # not reaped, so its number is nobody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def runs(self, attempt: Attempt | None) -> None:
        """From now on it runs this one, or none."""
        with self._lock:
            self.attempt = attempt

    def interrupt(self, attempt: Attempt) -> None:
        """End it if it runs this attempt, and not already the next one."""
        with self._lock:
            if self.attempt is attempt:
                self.kill(attempt)

    def reap(self) -> str:
        """Wait for its end and say how it came."""
        code = self._process.wait()
        self.pipe.close()
        if self._end is not None:
            os.close(self._end)
            self._end = None
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _end_of(pid: int) -> int | None:
    """A file that is readable when this process has ended. None where there is no such thing (not Linux): its end is
    noticed by that of the pipe then."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


class ProcessSlots:
    """Threads, up to as many as there are slots, each looking after one child that it starts when it needs it."""

    def __init__(self, slots: Slots, environment: dict[str, str]) -> None:
        self._slots = slots
        self._environment = environment
        self._waiting: SimpleQueue[Attempt | None] = SimpleQueue()
        self._unstarted: set[Attempt] = set()  # those for which a thread gets a child ready
        self._threads = 0
        self._children: set[Child] = set()
        self._closed = False

    def submit(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._waiting.put(attempt)
        wanted = min(self._slots.size, self._threads + len(attempts))
        while self._threads < wanted:
            self._threads += 1
            threading.Thread(target=self._work, name=f"process-slot-{self._threads}", daemon=True).start()

    def drain(self) -> list[Attempt]:
        return take_all(self._waiting)

    def take_unstarted(self) -> list[Attempt]:
        """Take back what has a slot and a child that is not ready; that goes on getting ready, for the next one."""
        taken = []
        while self._unstarted:
            with suppress(KeyError):  # its thread begins it at this very moment
                taken.append(self._unstarted.pop())
        return taken

    def close(self) -> None:
        self._closed = True
        for child in list(self._children):
            child.kill(child.attempt)
        for _ in range(self._threads):
            self._waiting.put(None)

    def _work(self) -> None:
        child: Child | None = None
        while (attempt := self._waiting.get()) is not None:
            self._slots.take()
            self._unstarted.add(attempt)
            try:
                child = self._run(child, attempt)
            finally:
                self._slots.give()
        if child is not None:
            self._discard(child)

    def _run(self, child: Child | None, attempt: Attempt) -> Child | None:
        """Run the attempt in the child, or in a new one where there is none; returns the child if it still lives."""
        try:
            child = self._live(child)
            # Before the attempt begins: what a child takes to start is not the handler's time.
            while not child.ready and attempt in self._unstarted and not attempt.cancel_requested:
                child.look()
            return self._attend(child, attempt) if self._start(attempt) else child
        except NotReady as error:
            outcome = Failed(str(error))
        except Exception as error:  # noqa: BLE001  (no process to be had, a payload that cannot be sent: the slot goes on)
            final = isinstance(error, RecursionError)  # nested too deeply to be sent, today and tomorrow
            outcome = Failed(f"the handler's process could not be used: {describe(error)}", final=final)
        if child is not None:
            self._discard(child)
        if attempt.started is not None or self._start(attempt):
            self._end(attempt, outcome)
        return None

    def _start(self, attempt: Attempt) -> bool:
        """The attempt begins, unless it was taken back or cancelled meanwhile."""
        try:
            self._unstarted.remove(attempt)
        except KeyError:
            return False
        return self._slots.start(attempt)

    def _live(self, child: Child | None) -> Child:
        if child is not None:
            if child.alive:
                return child
            self._discard(child)
        child = Child(self._environment)
        self._children.add(child)
        return child

    def _attend(self, child: Child, attempt: Attempt) -> Child | None:
        """Have the child run the attempt; returns it, or None if it is no more."""
        child.runs(attempt)
        attempt.stop = partial(child.interrupt, attempt)
        outcome: Outcome | None = None
        try:
            remaining = attempt.deadline - time.monotonic()
            child.pipe.send((attempt.task, remaining, attempt.worker_id, attempt.waited))
            if attempt.cancel_requested:  # before there was anything to stop
                child.kill()
            outcome = self._ended(child, attempt)
        except (EOFError, OSError):
            pass
        child.runs(None)
        survivor: Child | None = child
        if outcome is None:
            survivor = None
            outcome = self._without_answer(attempt, self._discard(child, attempt))
        attempt.stop = None
        self._end(attempt, outcome)
        return survivor

    def _discard(self, child: Child, attempt: Attempt | None = None) -> str:
        """End the child for good, and say how it ended. What it had still to say of its attempt is listened to."""
        self._children.discard(child)
        child.kill(attempt)
        if attempt is not None:
            with suppress(EOFError, OSError, AnotherAttempt):
                while child.pipe.poll(LAST_WORDS_SECONDS):
                    _told(attempt, _received(child.pipe, attempt))
        return child.reap()

    def _end(self, attempt: Attempt, outcome: Outcome) -> None:
        self._slots.observe(attempt)
        if not self._closed and self._slots.in_flight.settle(attempt):
            self._slots.endings.put(ending(attempt, outcome))

    def _ended(self, child: Child, attempt: Attempt) -> Outcome | None:
        """Listen to the child until it has ended the attempt, or the time is up: None then."""
        while (remaining := attempt.deadline - time.monotonic()) > 0:
            match child.hear(attempt, min(remaining, LONGEST_POLL_SECONDS)):
                case None:
                    continue
                case ("ended", outcome, dropped):
                    if attempt.logs is not None:
                        attempt.logs.dropped = dropped
                    return outcome  # type: ignore[no-any-return]
                case message:
                    _told(attempt, message)
        return None

    def _without_answer(self, attempt: Attempt, how: str) -> Outcome:
        if attempt.cancel_requested:
            return Cancelled("the task was cancelled while it ran; its process was killed")
        if time.monotonic() >= attempt.deadline:
            return TimedOut("the handler ran longer than its timeout and its process was killed")
        return Failed(f"the handler's process {how}")


def _received(pipe: Connection, attempt: Attempt) -> tuple[Any, ...]:
    """What the child says next of its attempt. Raises `AnotherAttempt` if it is of another one."""
    number, *message = pipe.recv()
    if number != number_of(attempt):
        raise AnotherAttempt(f"it spoke of attempt {number[1]} of task {number[0]}")
    return tuple(message)


def _told(attempt: Attempt, message: tuple[Any, ...]) -> None:
    """What a child says of its attempt while that runs."""
    match message:
        case ("progress", percent, text):
            attempt.report_progress(percent, text)
        case ("log", entry):
            attempt.log(entry)
        case ("commit_begins",):
            attempt.commit_begins()
        case ("committed", stored, released):
            attempt.committed(stored, released=released)
        case ("rolled_back",):
            attempt.rolled_back()


def child_environment(database_url: str, imports: Sequence[str]) -> dict[str, str]:
    """What a child needs beside this process's environment: the flags of the command line."""
    return {**os.environ, "TASKFLOW_DATABASE_URL": database_url, "TASKFLOW_IMPORTS": ",".join(imports)}
