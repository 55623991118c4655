"""A report for people: as plain text, as a page of HTML, as a table in CSV; and for programs, as JSON."""

from __future__ import annotations

import csv
import html
import json
from collections.abc import Callable
from io import StringIO
from typing import Any

Report = dict[str, Any]
Row = tuple[str | int | float, ...]
COLUMNS = (
    "queue", "type", "completed", "failed", "cancelled", "dead_letter", "attempts", "failed_attempts", "retried",
    "failure_rate", "avg_seconds", "p50_seconds", "p95_seconds", "p99_seconds",
)  # fmt: skip
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1c1c1c }
table { border-collapse: collapse; margin: 0.5rem 0 2rem } th, td { padding: 0.25rem 0.75rem; text-align: left }
th { border-bottom: 2px solid #999 } td { border-bottom: 1px solid #ddd } .n { text-align: right }
@media (prefers-color-scheme: dark) { body { background: #181818; color: #e6e6e6 } td { border-color: #444 } }
"""


def as_json(report: Report) -> str:
    """The result of the task."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """A line for each type in each queue. A name that a spreadsheet would take for a formula gets an apostrophe."""
    out = StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for row in _table(report):
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell for cell in row]
        )
    return out.getvalue()


def as_text(report: Report) -> str:
    """Short enough for a mail."""
    tasks, attempts, latency = report["tasks"], report["attempts"], report["latency"]
    lines = [
        f"{report['from']} to {report['to']} ({report['timezone']})",
        "",
        f"completed    {tasks['completed']:>12,}",
        f"failed       {tasks['failed']:>12,}",
        f"cancelled    {tasks['cancelled']:>12,}",
        f"dead letters {tasks['dead_letter']:>12,}",
        f"attempts     {attempts['total']:>12,}, of which {_failures(report):,} failed",
        f"latency      avg {_seconds(latency['avg'])}, p50 {_seconds(latency['p50'])}, "
        f"p95 {_seconds(latency['p95'])}, p99 {_seconds(latency['p99'])}",
    ]
    if report["types"]:
        lines += ["", "By type:"]
        lines += [
            f"  {row['type']}: {row['tasks']['completed']:,} completed, {_failures(row):,} attempts failed, "
            f"{row['tasks']['dead_letter']:,} dead letters, p95 {_seconds(row['latency']['p95'])}"
            for row in report["types"][:20]
        ]
    if report["busiest_hours"]:
        lines += ["", "Busiest hours:"]
        lines += [f"  {row['hour']}: {row['attempts']:,} attempts" for row in report["busiest_hours"]]
    if report["errors"]:
        lines += ["", "Dead letters died of:"]
        lines += [f"  {row['dead_letters']:,} x {row['type']}: {_one_line(row['error'])}" for row in report["errors"]]
    return "\n".join(lines) + "\n"


def as_html(report: Report) -> str:
    """One page without scripts, or anything from elsewhere."""
    title = f"Tasks, {report['from']} to {report['to']}"
    tasks = [(name.replace("_", " "), count) for name, count in report["tasks"].items()]
    attempts = [(name.replace("_", " "), count) for name, count in report["attempts"].items()]
    latency = [(name, _seconds(value)) for name, value in report["latency"].items()]
    hours = [(row["hour"], row["attempts"], row["failures"]) for row in report["busiest_hours"]]
    errors = [(row["type"], row["dead_letters"], row["error"] or "") for row in report["errors"]]
    parts = [
        _html_table("Tasks that ended", ("state", "tasks"), tasks),
        _html_table("Attempts", ("outcome", "attempts"), attempts),
        _html_table("Latency", ("of completed tasks", "seconds"), latency),
        _html_table("By queue and type", COLUMNS, _table(report)),
        _html_table("Busiest hours", ("hour", "attempts", "failures"), hours),
        _html_table("Dead letters", ("type", "tasks", "error"), errors),
    ]
    heading = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{heading}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n<h1>{heading}</h1>\n{''.join(parts)}</body>\n</html>\n"
    )


FORMS: dict[str, Callable[[Report], str]] = {".json": as_json, ".html": as_html, ".csv": as_csv}


def _table(report: Report) -> list[Row]:
    return [
        (
            *(row["queue"], row["type"], *row["tasks"].values(), row["attempts"]["total"], _failures(row)),
            *(row["retried"], row["failure_rate"] or 0),
            *("" if value is None else value for value in row["latency"].values()),
        )
        for row in report["queues_and_types"]
    ]


def _failures(row: Report) -> int:
    return sum(int(row["attempts"][outcome]) for outcome in ("failed", "timed_out", "lost"))


def _html_table(title: str, columns: tuple[str, ...], rows: list[Any]) -> str:
    if not rows:
        return ""
    heads = "".join(f"<th>{html.escape(column.replace('_', ' '))}</th>" for column in columns)
    lines = "".join(f"<tr>{''.join(map(_html_cell, row))}</tr>\n" for row in rows)
    return f"<h2>{html.escape(title)}</h2>\n<table>\n<tr>{heads}</tr>\n{lines}</table>\n"


def _html_cell(value: str | int | float) -> str:
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return (
        f"<td{' class=' + chr(34) + 'n' + chr(34) if isinstance(value, float) else ''}>{html.escape(str(value))}</td>"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g} s"


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
