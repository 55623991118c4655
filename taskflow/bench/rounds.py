"""Measuring in turn: a baseline before and after every run of the product, so that a drifting machine cancels out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Generic, TypeVar

from taskflow.bench.report import Figure, Goal

Baseline = TypeVar("Baseline")
Product = TypeVar("Product")


@dataclass(frozen=True, slots=True)
class Round(Generic[Baseline, Product]):
    """One run of the product between two of the baseline."""

    before: Baseline
    product: Product
    after: Baseline


def in_turn(
    baseline: Callable[[], Baseline], products: Mapping[str, Callable[[], Product]], rounds: int
) -> dict[str, list[Round[Baseline, Product]]]:
    """Run baseline, product, baseline, next product, ..., baseline; `rounds` times through all products."""
    before = baseline()
    measured: dict[str, list[Round[Baseline, Product]]] = {name: [] for name in products}
    for _ in range(rounds):
        for name, product in products.items():
            value, after = product(), baseline()
            measured[name].append(Round(before, value, after))
            before = after
    return measured


def ratio(
    name: str,
    rounds: Sequence[Round[Baseline, Product]],
    baseline: Callable[[Baseline], float],
    product: Callable[[Product], float],
    measured_in: str,
    goal: Goal | None = None,
) -> Figure:
    """The median over the rounds of product by baseline, the latter as the mean of before and after."""
    baselines = [(baseline(one.before) + baseline(one.after)) / 2 for one in rounds]
    products = [product(one.product) for one in rounds]
    ratios = [mine / theirs for mine, theirs in zip(products, baselines, strict=True)]
    return Figure(
        name,
        median(ratios),
        "x",
        goal,
        baseline=median(baselines),
        product=median(products),
        measured_in=measured_in,
        samples={"baseline": baselines, "product": products, "ratio": ratios},
    )


def rates(name: str, rounds: Sequence[Round[float, float]], measured_in: str, goal: Goal | None = None) -> Figure:
    """`ratio` where both sides are measured as one number."""
    return ratio(name, rounds, float, float, measured_in, goal)


def measure(name: str, values: Sequence[float], unit: str, goal: Goal | None = None) -> Figure:
    """A figure without a baseline: the median of its runs."""
    return Figure(name, median(values), unit, goal, samples={"product": list(values)})


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` of all do not exceed."""
    return sorted(values)[max(0, ceil(len(values) * percent / 100) - 1)]
