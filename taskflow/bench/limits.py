"""`taskflow bench limits`: what limits that are never reached cost a queue, and tasks that wait for a key the others,
against the same drain without any."""

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
# One task of a key runs for the whole drain, and all others of the key have been found to have to wait.
BLOCKED = """
    INSERT INTO taskflow.tasks (type, concurrency_key, state, key_state, run_at)
    SELECT 'bench.noop', 'full', 'blocked', 'blocked', now() - interval '1 hour' FROM generate_series(1, {count});
    INSERT INTO taskflow.tasks (type, concurrency_key, state, key_state, attempt, claimed_at, started_at, worker_id)
    SELECT 'bench.noop', 'full', 'running', 'running', 1, now(), now(),
           taskflow.register_worker('bench', 1, NULL, '{{bench.noop}}', 1, 'bench');
    SELECT taskflow.record_claims()
"""
BLOCKED_GOAL = Goal(at_least=0.95)
KEYS = {
    "a key for each task": "UPDATE taskflow.tasks_live SET concurrency_key = 'key ' || id",
    "100 keys for a tenth of them": (
        "UPDATE taskflow.tasks_live SET concurrency_key = 'key ' || id / 10 % 100 WHERE id % 10 = 0"
    ),
}


def run(
    server: Server,
    *,
    tasks: int = 100_000,
    rounds: int = 3,
    processes: int = 2,
    limits: Sequence[str] = tuple(LIMITS),
    blocked: int = 100_000,
    keys: Sequence[str] = tuple(KEYS),
) -> Report:
    """Drain `tasks` no-op tasks by worker processes, the queue with a limit in turn with one without; then beside
    `blocked` tasks that wait for a key, and with keys of their own."""

    def drained(setting: str | None, prepare: str = "") -> Drain:
        with server.database() as dsn:
            if setting is not None:
                with connect(dsn, name="bench") as connection:
                    connection.execute(f"UPDATE taskflow.queues SET {setting} WHERE name = 'default'")
            return drain(dsn, tasks, processes=processes, prepare=prepare)

    products = {name: partial(drained, LIMITS[name]) for name in limits}
    beside = f"beside {blocked:,} blocked ones"
    products[beside] = partial(drained, None, BLOCKED.format(count=blocked))
    products |= {name: partial(drained, None, KEYS[name]) for name in keys}
    goals = {**dict.fromkeys(limits, GOAL), beside: BLOCKED_GOAL}
    measured = in_turn(partial(drained, None), products, rounds)
    figures = [
        ratio(name, measured[name], lambda it: it.per_second, lambda it: it.per_second, "tasks/s", goals.get(name))
        for name in products
    ]
    return server.report("limits", figures, tasks=tasks, rounds=rounds, processes=processes, blocked=blocked)
