"""`taskflow bench load`: a deployment under load through its REST API, as its users put it on.

Requests are timed here; pickups and ends by the times that the database has given to the tasks, read when all have been
submitted: nothing is asked meanwhile, and no clock is compared with another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from taskflow.bench.report import Figure, Report
from taskflow.bench.rounds import percentile
from taskflow.bench.submits import Ended, Order, Submits, ends, submit
from taskflow.bench.target import Target, TargetClient, check
from taskflow.stop_flag import StopFlag

PERCENTS = (50, 95, 99)
TAG = "taskflow-bench-load"
"""Every task of a load test has it: `tag:taskflow-bench-load created:<1h` finds them."""
MOST_CPU = 0.8
"""Above this share of a core, this process is what is slow."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load and what came of it."""

    submits: Submits
    ended: Sequence[Ended]

    @property
    def sent(self) -> int:
        """Requests, those that failed included."""
        return len(self.submits.seconds) + self.submits.errors.total()

    @property
    def per_second(self) -> float:
        """Accepted submits a second."""
        return len(self.submits.ids) / self.submits.took

    @property
    def unfinished(self) -> int:
        """Accepted tasks that had not ended when the time was up."""
        return len(self.submits.ids) - len(self.ended)

    def milliseconds(self, measure: str) -> list[float]:
        """Of each request, pickup or completion."""
        match measure:
            case "request":
                seconds = self.submits.seconds
            case "pickup":
                seconds = [task.pickup for task in self.ended if task.pickup is not None]
            case _:
                seconds = [task.completed for task in self.ended if task.state == "completed"]
        return [1000 * value for value in seconds]

    def figures(self) -> list[Figure]:
        """Rates, percentiles, errors."""
        found = [
            Figure("accepted submits", self.per_second, "tasks/s"),
            Figure("completions, from the first creation to the last end", _rate(self.ended), "tasks/s"),
        ]
        for measure, name in MEASURES.items():
            values = self.milliseconds(measure)
            found += [
                Figure(f"{name}, p{percent}", percentile(values, percent), "ms") for percent in PERCENTS if values
            ]
        found.append(Figure("errors", self.submits.errors.total(), "requests"))
        found += [Figure(f"of these {kind}", number, "requests") for kind, number in self.submits.errors.most_common()]
        states = Counter(task.state for task in self.ended)
        completed = states.pop("completed", 0)
        found.append(Figure("completed", completed, "tasks"))
        found += [Figure(f"ended {state}", number, "tasks") for state, number in states.most_common()]
        found.append(Figure("not ended in time", self.unfinished, "tasks"))
        found.append(Figure("this load generator: CPU", 100 * self.submits.cpu, "% of a core"))
        return found

    def notes(self) -> list[str]:
        """What a reader must know to believe the figures."""
        notes = []
        if self.submits.cpu > MOST_CPU:
            notes.append(
                f"this process used {100 * self.submits.cpu:.0f} % of a core: it is as slow as the server, or slower. "
                "Run several, on other machines."
            )
        if any(kind.startswith("429") for kind in self.submits.errors):
            notes.append("the server limits each client: TASKFLOW_RATE_LIMIT=0 lifts that for a test.")
        return notes


MEASURES = {
    "request": "request to answer",
    "pickup": "creation to handler",
    "completed": "creation to completion",
}


@dataclass(frozen=True, slots=True)
class LoadTest:
    """What is put on which deployment, and for how long at most. `tell` gets a line for people now and then; once
    `stopped` is set, no request is begun any more."""

    target: Target
    type: str
    queue: str
    payload: dict[str, Any]
    clients: int
    max_seconds: float
    stopped: StopFlag
    tell: Callable[[str], None]

    def body(self) -> bytes:
        """Of each submit."""
        return orjson.dumps({"type": self.type, "queue": self.queue, "payload": self.payload, "tags": [TAG]})

    def deployment(self) -> dict[str, Any]:
        """What is measured. Raises `TaskflowError` if it cannot be."""
        client = TargetClient(self.target)
        try:
            return {"url": self.target.shown, **check(client, self.type, self.queue)}
        finally:
            client.close()

    def put_on(self, jobs: int, rate: float | None, *, submit_until: float, wait_until: float) -> Run:
        """Submit and wait for the ends; both bounds are monotonic times."""
        order = Order(self.target, self.body(), jobs, self.clients, rate, submit_until)
        submits = submit(order, self.stopped)
        return Run(submits, ends(self.target, submits.ids, until=wait_until, stopped=self.stopped))

    def report(self, name: str, figures: Sequence[Figure], deployment: dict[str, Any], **parameters: Any) -> Report:
        """The figures with all that they depend on."""
        common = {"type": self.type, "queue": self.queue, "clients": self.clients, "stopped": self.stopped.is_set()}
        return Report(name, figures, parameters | common, deployment)


def run(test: LoadTest, *, jobs: int, rate: float | None = None) -> Report:
    """Submit `jobs` tasks, as fast as they are answered or `rate` a second, and wait for their ends."""
    deployment, until = test.deployment(), time.monotonic() + test.max_seconds
    done = test.put_on(jobs, rate, submit_until=until, wait_until=until)
    for note in done.notes():
        test.tell(f"note: {note}")
    return test.report("load", done.figures(), deployment, jobs=jobs, rate=rate)


def _rate(ended: Sequence[Ended]) -> float:
    if not ended:
        return 0.0
    seconds = (max(task.ended_at for task in ended) - min(task.created_at for task in ended)).total_seconds()
    return len(ended) / max(seconds, 1e-6)
