"""`taskflow bench limits`: what limits that are never reached cost a queue, against the same drain without any."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from taskflow.bench.drains import Drain, drain
from taskflow.bench.report import Goal, Report
from taskflow.bench.rounds import in_turn, ratio
from taskflow.bench.server import Server
from taskflow.store.connection import connect

LIMITS = {
    "max_workers": "max_workers = 5000",
    "rate_limit": "rate_limit = 1000000000",
    "a limit of another type": """type_limits = '{"mail": {"rate_limit": 1}}'""",
    "aging": "aging_seconds = 60",
}
GOAL = Goal(at_least=0.8)


def run(
    server: Server,
    *,
    tasks: int = 100_000,
    rounds: int = 3,
    processes: int = 2,
    limits: Sequence[str] = tuple(LIMITS),
) -> Report:
    """Drain `tasks` no-op tasks by worker processes, the queue with a limit in turn with one without."""

    def drained(setting: str | None) -> Drain:
        with server.database() as dsn:
            if setting is not None:
                with connect(dsn, name="bench") as connection:
                    connection.execute(f"UPDATE taskflow.queues SET {setting} WHERE name = 'default'")
            return drain(dsn, tasks, processes=processes)

    products = {name: partial(drained, LIMITS[name]) for name in limits}
    measured = in_turn(partial(drained, None), products, rounds)
    figures = [
        ratio(name, measured[name], lambda it: it.per_second, lambda it: it.per_second, "tasks/s", GOAL)
        for name in products
    ]
    return server.report("limits", figures, tasks=tasks, rounds=rounds, processes=processes)
