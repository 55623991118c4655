"""`taskflow bench payloads`: a drain with larger payloads, and the WAL that each task costs.

A payload past two kilobytes is stored out of line (TOAST), and completing the task copies it: the row moves.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from functools import partial

from taskflow.bench.bare_drain import BareDrain, drain_bare
from taskflow.bench.drains import Drain, drain
from taskflow.bench.report import Report
from taskflow.bench.rounds import in_turn, measure, ratio
from taskflow.bench.server import Server


def run(server: Server, *, tasks: int = 20_000, rounds: int = 3, sizes: Sequence[int] = (1_000, 10_000)) -> Report:
    """Drain `tasks` tasks of each payload size in bytes by one worker process, in turn with the bare loop."""

    def bare(filling: str) -> BareDrain:
        with server.database() as dsn:
            return drain_bare(dsn, tasks, filling=filling)

    def by_worker(filling: str) -> Drain:
        with server.database() as dsn:
            return drain(dsn, tasks, filling=filling)

    figures = []
    for size in sizes:
        filling = f', "data": "{_noise(size)}"'
        measured = in_turn(partial(bare, filling), {"": partial(by_worker, filling)}, rounds)[""]
        name = f"payloads of {size:,} bytes"
        figures.append(ratio(name, measured, lambda it: it.tasks_per_second, lambda it: it.per_second, "tasks/s"))
        wal = [one.product.wal_bytes / one.product.count for one in measured]
        figures.append(measure(f"{name}: WAL a task, from claim to audit", wal, "bytes"))
    return server.report("payloads", figures, tasks=tasks, rounds=rounds)


def _noise(size: int) -> str:
    """Text that does not compress, as images and tokens do not."""
    return base64.b64encode(os.urandom(size)).decode()[:size]
