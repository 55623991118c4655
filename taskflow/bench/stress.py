"""`taskflow bench load --stress`: raises the load step by step until a percentile breaks its limit, and says where.

Each step asks for a number of submits a second, whether the server keeps up or not, and a request counts from the
moment at which it was due: a server that stalls is not asked less for it.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field

from taskflow.bench.load import LoadTest, Run
from taskflow.bench.report import Figure, Report
from taskflow.bench.rounds import percentile

GROWTH = 1.5
"""Each step asks for so much more than the one before."""
MOST_ERRORS = 0.01
"""A step breaks with a larger share of its requests refused or lost."""
LIMIT = re.compile(r"(?:(request|pickup|completed)\.)?p(50|9\d(?:\.9)?)=(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True, slots=True)
class Limit:
    """What ends a stress test: this percentile of this measure above so many milliseconds."""

    measure: str
    percent: float
    ms: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """From `p99=500ms`, `completed.p95=2s`; without a measure it is the requests'. Raises `ValueError`."""
        match = LIMIT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is no limit. Say it as p99=500ms, or completed.p95=2s; the measures are request, pickup and "
                "completed."
            )
        measure, percent, number, unit = match.groups()
        return cls(measure or "request", float(percent), float(number) * (1000 if unit == "s" else 1))

    def __str__(self) -> str:
        return f"{self.measure} p{self.percent:g} <= {self.ms:g} ms"


@dataclass(slots=True)
class Climb:
    """How far the steps have come: the last load that was held, and the one that was not with the reason."""

    rates: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    held: float = 0.0
    broken: float | None = None
    why: str = ""
    last: Run | None = None


def stress(test: LoadTest, *, limit: Limit, rate: float, step_seconds: float) -> Report:
    """Begin with `rate` submits a second and raise them by half at each step, until `limit` or the server breaks, or
    the time is up."""
    deployment, until, climb = test.deployment(), time.monotonic() + test.max_seconds, Climb()
    while not climb.why:
        if time.monotonic() + step_seconds > until:
            climb.why = "the time was up"
        else:
            _step(test, climb, rate, limit, step_seconds)
        rate *= GROWTH
    if climb.broken is None:
        test.tell(f"note: the limit was not reached: {climb.why}.")
    if climb.last is not None:
        for note in climb.last.notes():
            test.tell(f"note: {note}")
    return test.report("load --stress", _figures(climb, limit), deployment, until=str(limit), step_seconds=step_seconds)


def _step(test: LoadTest, climb: Climb, rate: float, limit: Limit, seconds: float) -> None:
    began = time.monotonic()
    # Tasks that end later than the limit allows need not be waited for much longer.
    wait_until = began + 2 * seconds + 2 * limit.ms / 1000
    done = test.put_on(max(1, round(rate * seconds)), rate, submit_until=wait_until, wait_until=wait_until)
    if test.stopped.is_set():
        climb.why = "it was stopped"
        return
    measured = done.milliseconds(limit.measure)
    value = percentile(measured, limit.percent) if measured else float("inf")
    climb.rates.append(rate)
    climb.values.append(value)
    climb.last = done
    test.tell(
        f"{rate:,.0f} submits/s asked, {done.per_second:,.0f} accepted:"
        f" {limit.measure} p{limit.percent:g} {value:,.1f} ms, {done.submits.errors.total()} errors,"
        f" {done.unfinished} not ended, {100 * done.submits.cpu:.0f} % of a core here"
    )
    if problem := _problem(done, value, limit):
        climb.broken, climb.why = rate, problem
    else:
        climb.held = rate


def _problem(done: Run, value: float, limit: Limit) -> str | None:
    """What of this step is too much; None if nothing."""
    if done.submits.errors.total() > MOST_ERRORS * done.sent:
        kind, number = done.submits.errors.most_common(1)[0]
        return f"{number} of {done.sent} requests failed, most with {kind}"
    if done.unfinished:
        return f"{done.unfinished} tasks had not ended soon after"
    return f"{limit.measure} p{limit.percent:g} was {value:,.0f} ms" if value > limit.ms else None


def _figures(climb: Climb, limit: Limit) -> list[Figure]:
    steps = {"submits_per_second": climb.rates, "ms": climb.values}
    figures = [Figure("load that was held", climb.held, "submits/s", samples=steps)]
    if climb.broken is not None:
        figures.append(Figure(f"load that broke it: {climb.why}", climb.broken, "submits/s"))
    return figures + (climb.last.figures() if climb.last is not None else [])
