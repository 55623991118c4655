"""`taskflow bench drain`: how fast a full queue is emptied, and what that costs the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from taskflow.bench.bare_drain import BATCH, BareDrain, drain_bare
from taskflow.bench.drains import Drain, drain
from taskflow.bench.one_connection import claim_and_complete
from taskflow.bench.report import Figure, Goal, Report
from taskflow.bench.rounds import in_turn, measure, ratio
from taskflow.bench.server import Server

GOALS = {1: Goal(at_least=1.0), 2: Goal(at_least=1.7)}
SERVER_CPU_GOAL = Goal(at_most=1.3)


def run(server: Server, *, tasks: int = 100_000, rounds: int = 3, processes: Sequence[int] = (1, 2)) -> Report:
    """Drain `tasks` no-op tasks by one, two, ... worker processes, in turn with the bare loop."""

    def alone(loop: Callable[[str, int], BareDrain]) -> BareDrain:
        with server.database() as dsn:
            return loop(dsn, tasks)

    def by_workers(number: int) -> Drain:
        with server.database() as dsn:
            return drain(dsn, tasks, processes=number)

    measured = in_turn(
        partial(alone, drain_bare), {_name(number): partial(by_workers, number) for number in processes}, rounds
    )
    figures = []
    for number in processes:
        drains = measured[_name(number)]
        figures.append(ratio(_name(number), drains, _bare_rate, lambda it: it.per_second, "tasks/s", GOALS.get(number)))
    statements = in_turn(partial(alone, drain_bare), {"statements": partial(alone, claim_and_complete)}, rounds)[
        "statements"
    ]
    figures.append(
        ratio("claim_tasks and complete_tasks, one connection", statements, _bare_rate, _bare_rate, "tasks/s")
    )
    if statements[0].before.server_cpu_us is not None:
        figures.append(ratio("the same, server CPU a task", statements, _bare_cpu, _bare_cpu, "µs", SERVER_CPU_GOAL))
    for number in processes:
        figures += _cpu(_name(number), [one.product for one in measured[_name(number)]])
    return server.report("drain", figures, tasks=tasks, rounds=rounds, batch=BATCH)


def _name(processes: int) -> str:
    return f"{processes} worker process" + ("es" if processes > 1 else "")


def _bare_rate(run: BareDrain) -> float:
    return run.tasks_per_second


def _bare_cpu(run: BareDrain) -> float:
    return run.server_cpu_us or 0.0


def _cpu(name: str, drains: Sequence[Drain]) -> list[Figure]:
    """The CPU of all processes over the whole drain, as orientation: what is left of two cores is waiting."""
    figures = [measure(f"{name}, worker CPU a task", [one.worker_cpu_us for one in drains], "µs")]
    server = [one.server_cpu_us for one in drains if one.server_cpu_us is not None]
    if server:
        figures.append(measure(f"{name}, server CPU a task, all processes", server, "µs"))
    return figures
