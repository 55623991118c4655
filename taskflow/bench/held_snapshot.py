"""`taskflow bench held-snapshot`: a drain while another session holds an old snapshot, against a clean one.

Dead entries of the claim index cannot be removed then; a claim that starts at its head walks over more and more of
them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from taskflow.bench.drains import Drain, drain, drain_with_plans_of_the_empty_table
from taskflow.bench.report import Goal, Report
from taskflow.bench.rounds import in_turn, measure, ratio
from taskflow.bench.server import Server

GOAL, SECOND_HALF_GOAL = Goal(at_least=0.9), Goal(at_least=0.8)


def run(server: Server, *, tasks: int = 100_000, rounds: int = 3) -> Report:
    """Drain `tasks` no-op tasks of one COPY by one worker: clean, a snapshot held, old plans, both."""

    def fresh(how: Callable[[str, int], Drain]) -> Drain:
        with server.database() as dsn:
            return how(dsn, tasks)

    held, old_plans = "a snapshot held", "plans of the empty table"
    both = f"{held}, {old_plans}"
    measured = in_turn(
        partial(fresh, drain),
        {
            held: partial(fresh, partial(drain, held_snapshot=True)),
            old_plans: partial(fresh, drain_with_plans_of_the_empty_table),
            both: partial(fresh, partial(drain_with_plans_of_the_empty_table, held_snapshot=True)),
        },
        rounds,
    )
    figures = [
        ratio(name, drains, lambda it: it.per_second, lambda it: it.per_second, "tasks/s", GOAL)
        for name, drains in measured.items()
    ]
    for name in (held, both):
        halves = [one.product.second_half_by_first for one in measured[name]]
        figures.append(measure(f"{name}: second half by first", halves, "x", SECOND_HALF_GOAL))
    return server.report("held-snapshot", figures, tasks=tasks, rounds=rounds)
