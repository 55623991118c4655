"""`ops/bench-peers`: prints how fast taskflow and other queues drain no-op tasks, as ratios to the same bare loop."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial

import taskflow.bench.drains
from ops.peers import drains
from ops.peers.queues import QUEUES, Queue
from taskflow.bench.bare_drain import drain_bare
from taskflow.bench.report import Report
from taskflow.bench.rounds import in_turn, rates
from taskflow.bench.server import Server, open_measured_server
from taskflow.errors import TaskflowError

PROCESSES = (1, 2)


def main() -> int:
    names = [queue.name for queue in QUEUES]
    parser = argparse.ArgumentParser(prog="ops/bench-peers", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which ones; all: {', '.join(names)}")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(names):
        parser.error(f"{', '.join(unknown)}: not known; there are {', '.join(names)}")
    measured = []
    for queue in QUEUES:
        if asked.names and queue.name not in asked.names:
            continue
        if missing := queue.missing:
            print(f"{queue.name} is left out: there is no {missing} on the PATH", file=sys.stderr)
            continue
        print(f"installing {queue.name} into .taskflow/peers", file=sys.stderr)
        queue.install()
        measured.append(queue)
    try:
        with open_measured_server() as server:
            report = compare(server, measured, asked.tasks, asked.rounds)
    except TaskflowError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json()) if asked.json else report.as_table())
    return 0


def compare(server: Server, queues: list[Queue], tasks: int, rounds: int) -> Report:
    """Drain by taskflow and by each of `queues`, with one and two worker processes, in turn with the bare loop."""

    def bare() -> float:
        with server.database() as dsn:
            return drain_bare(dsn, tasks).tasks_per_second

    def ours(processes: int) -> float:
        with server.database() as dsn:
            return taskflow.bench.drains.drain(dsn, tasks, processes=processes).per_second

    runs: dict[str, Callable[[], float]] = {f"taskflow, {n}": partial(ours, n) for n in PROCESSES}
    for queue in queues:
        name = f"{queue.name} {queue.version()}"
        runs |= {f"{name}, {n}": partial(drains.drain, server, queue, tasks, n) for n in PROCESSES}
    figures = [rates(name, measured, "tasks/s") for name, measured in in_turn(bare, runs, rounds).items()]
    return server.report("peers: name, worker processes", figures, tasks=tasks, rounds=rounds)


if __name__ == "__main__":
    sys.exit(main())
