"""The work: who leads, what waits and nobody will take, what should fire and cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding, few
from taskflow.cli.commands.doctor.subject import SAMPLE, Check, Subject
from taskflow.errors import InvalidSchedule
from taskflow.schedules import Timing

LATE_SECONDS = 60.0
FORSAKEN_SECONDS = 60.0


def leader(subject: Subject) -> Iterator[Finding]:
    """Whether somebody leads."""
    lease = subject.rows("lease_holder")
    if not lease or lease[0].seconds_over > 0:
        since = f" (since {finding.time(lease[0].seconds_over)})" if lease else ""
        yield finding.warning(
            f"nobody leads{since}",
            "tasks of dead workers are not rescued, schedules do not fire, days are neither made nor dropped",
            "start `taskflow worker` (without --no-leader) or `taskflow scheduler`",
        )


def silent_workers(subject: Subject) -> Iterator[Finding]:
    """Workers that have died and that nobody has given up yet."""
    timeout = subject.settings.heartbeat_timeout
    silent = [row for row in subject.rows("registered_workers") if row.silent_seconds > 3 * timeout]
    if silent:
        names = few(f"{row.id} ({row.hostname}, {finding.time(row.silent_seconds)})" for row in silent)
        yield finding.warning(
            f"workers are silent and nobody has taken their tasks from them: {names}",
            "what they were running stays `running`",
            "see that somebody leads: start `taskflow worker` or `taskflow scheduler`",
        )


def unserved(subject: Subject) -> Iterator[Finding]:
    """Queues with due tasks that no worker serves, and types that no worker of their queue can run."""
    running = [worker for worker in subject.workers if worker.state == "running"]
    queues: dict[str, float] = {}
    types: dict[str, float] = {}
    for row in subject.waiting:
        if row.queue in subject.paused:
            continue
        serving = [worker for worker in running if worker.queues is None or row.queue in worker.queues]
        if not serving:
            queues[row.queue] = max(row.seconds, queues.get(row.queue, 0.0))
        elif not any(row.type in worker.types for worker in serving):
            types[f"{row.type} in {row.queue}"] = row.seconds
    if queues:
        why = "no worker runs" if not running else "those that run serve others (--queues, TASKFLOW_QUEUES)"
        yield finding.warning(
            f"due tasks wait in queues that nobody serves: {_with_times(queues)}",
            f"nobody will run them: {why}",
            f"taskflow worker --queues {','.join(list(queues)[: finding.SHOWN])}",
        )
    if types:
        yield finding.warning(
            f"due tasks have types that no worker of their queue can run: {_with_times(types)}",
            "they wait until one can, in front of others that are looked through at every claim",
            "taskflow worker --import the module that declares them; or cancel what nobody will declare again",
        )


def paused(subject: Subject) -> Iterator[Finding]:
    """Queues and types that are paused while tasks wait."""
    waiting: dict[str, float] = {}
    for row in subject.waiting:
        if row.queue in subject.paused:
            waiting[row.queue] = max(row.seconds, waiting.get(row.queue, 0.0))
    stopped = {(row.queue, row.type) for row in subject.rows("paused_types")}
    waiting |= {
        f"{row.type} in {row.queue}": row.seconds for row in subject.waiting if (row.queue, row.type) in stopped
    }
    if waiting:
        first = next(iter(waiting)).rpartition(" ")[2]
        yield finding.warning(
            f"due tasks wait in what is paused: {_with_times(waiting)}",
            "somebody has paused it, and may have forgotten it",
            f"taskflow queues resume {first}; `taskflow queues show {first}` has the limits of its types",
        )


def schedules(subject: Subject) -> Iterator[Finding]:
    """Schedules that cannot fire, or whose tasks nobody would run."""
    known = {type for worker in subject.workers for type in worker.types}
    late, wrong, unknown, stopped = [], [], [], []
    for row in subject.rows("enabled_schedules"):
        if problem := _wrong(row):
            wrong.append(f"{row.name} ({problem})")
        elif (row.late_seconds or 0.0) > LATE_SECONDS:
            late.append(f"{row.name} ({finding.time(row.late_seconds)})")
        if known and row.type not in known:
            unknown.append(f"{row.name} ({row.type})")
        if row.queue in subject.paused:
            stopped.append(f"{row.name} ({row.queue})")
    if wrong:
        yield finding.warning(
            f"schedules cannot fire as they are written: {few(wrong)}",
            "the leader leaves them out until they are changed",
            "taskflow schedules update NAME with what fits, or UPDATE taskflow.schedules",
        )
    if late:
        yield finding.warning(
            f"schedules are late: {few(late)}",
            "nobody leads, or the leader's login may not fire them",
            "start `taskflow worker` or `taskflow scheduler`, and look for `schedules` in its log",
        )
    if unknown:
        yield finding.warning(
            f"schedules create tasks of types that no running worker knows: {few(unknown)}",
            "nobody runs what they create",
            "taskflow worker --import the module that declares them, or disable the schedules",
        )
    if stopped:
        yield finding.warning(
            f"schedules create tasks in paused queues: {few(stopped)}",
            "the tasks gather there",
            "resume the queues, or disable the schedules",
        )


def keys(subject: Subject) -> Iterator[Finding]:
    """Concurrency keys that hold tasks up though none of theirs runs."""
    forsaken = subject.rows("forsaken_keys", sample=10 * SAMPLE, seconds=FORSAKEN_SECONDS)
    if forsaken:
        yield finding.warning(
            f"tasks are blocked by keys for which nothing runs: {few(f'{row.key} in {row.queue}' for row in forsaken)}",
            "the leader lets them go every few seconds, and has not",
            "start `taskflow worker` or `taskflow scheduler`",
        )


def _wrong(row: Any) -> str | None:
    try:
        Timing(row.cron, row.interval, row.timezone, row.created_at, row.starts_at, row.ends_at).check()
    except InvalidSchedule as error:
        return str(error)
    return None


def _with_times(waiting: dict[str, float]) -> str:
    return few(f"{name} (for {finding.time(seconds)})" for name, seconds in waiting.items())


CHECKS = (
    Check("leader", "schema", leader),
    Check("silent-workers", "schema", silent_workers),
    Check("unserved", "schema", unserved),
    Check("paused", "schema", paused),
    Check("schedules", "schema", schedules),
    Check("keys", "schema", keys),
)
