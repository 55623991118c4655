"""What a benchmark hands back: figures with their goals, printed as a table or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a figure is to keep; exactly one of the two is given."""

    at_least: float | None = None
    at_most: float | None = None

    def is_met_by(self, value: float) -> bool:
        """Whether `value`, unrounded, keeps the bound."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `value` is what the goal is about: a ratio, or a measure in `unit`.

    `baseline` and `product` are the medians behind a ratio, in `measured_in`; `samples` are the single runs in order.
    """

    name: str
    value: float
    unit: str
    goal: Goal | None = None
    baseline: float | None = None
    product: float | None = None
    measured_in: str = ""
    samples: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the goal is kept; None without a goal."""
        return None if self.goal is None else self.goal.is_met_by(self.value)


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of one benchmark, what was measured and on what."""

    benchmark: str
    figures: Sequence[Figure]
    parameters: Mapping[str, Any]
    environment: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """A JSON object; the goal as its two bounds, `met` true, false or null."""
        figures = [asdict(figure) | {"met": figure.met} for figure in self.figures]
        return {
            "benchmark": self.benchmark,
            "parameters": dict(self.parameters),
            "environment": dict(self.environment),
            "figures": figures,
        }

    def as_table(self) -> str:
        """A text table for people, one line a figure; a column in which no figure has anything is left out."""
        rows: list[tuple[str, ...]] = [("figure", "baseline", "product", "measured in", "value", "goal", "met")]
        for figure in self.figures:
            rows.append(
                (
                    figure.name,
                    _number(figure.baseline),
                    _number(figure.product),
                    figure.measured_in,
                    f"{_number(figure.value)} {figure.unit}".strip(),
                    str(figure.goal or ""),
                    {True: "yes", False: "NO", None: ""}[figure.met],
                )
            )
        rows = list(zip(*(column for column in zip(*rows, strict=True) if any(column[1:])), strict=True))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        told = {**self.parameters, **self.environment}.items()
        details = ", ".join(f"{name} {value}" for name, value in told if value is not None)
        return "\n".join([f"{self.benchmark} ({details})", *lines])


def _number(value: float | None) -> str:
    """Three or four digits that matter, with thousands separated; a count as it is."""
    if value is None:
        return ""
    if abs(value) >= 1000 or isinstance(value, int):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
