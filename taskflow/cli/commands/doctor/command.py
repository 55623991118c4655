"""The command: what was found, for people or programs, and the exit code."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

import click

from taskflow.cli.commands.doctor.examination import Result, examine, healthy
from taskflow.cli.commands.doctor.subject import Subject
from taskflow.cli.config_option import config_option
from taskflow.settings import load
from taskflow.telemetry import hide_passwords

COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


@click.command("doctor")
@config_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--strict", is_flag=True, help="Warnings end with exit code 1 too.")
@click.pass_context
def command(context: click.Context, as_json: bool, strict: bool) -> None:
    """Look for what is wrong or soon will be, and say what to do about it. Changes nothing.

    Exit code 0: nothing, or warnings only; 1: errors, so that a deploy can stop there. Every check is bounded in time
    and reads no table from end to end.
    """
    subject = Subject(load())
    results = list(examine(subject))
    ok = healthy(results, strict=strict)
    if as_json:
        click.echo(json.dumps(as_object(results, subject.facts, ok=ok), ensure_ascii=False, default=str))
    else:
        show(results)
    if not ok:
        context.exit(1)


def as_object(results: list[Result], facts: dict[str, Any], *, ok: bool) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "ok": ok,
        "findings": [_shown(result.check, asdict(item)) for result in results for item in result.findings],
        "checks": [
            {"check": result.check, "seconds": round(result.seconds, 4), "skipped": result.skipped or None}
            for result in results
        ],
        "facts": facts,
    }


def show(results: list[Result]) -> None:
    """All of it, for people."""
    counts: Counter[str] = Counter()
    for severity, colour in COLOURS.items():
        for result in results:
            for item in (item for item in result.findings if item.severity == severity):
                counts[severity] += 1
                text = _shown(result.check, asdict(item))
                click.echo(f"{click.style(severity, fg=colour, bold=True)}: {text['what']}")
                click.echo(f"  why  {text['why']}\n  fix  {text['fix']}\n")
    skipped = Counter(result.skipped for result in results if result.skipped)
    for reason, number in skipped.items():
        click.echo(f"{number} checks were left out: {reason}.")
    made = sum(1 for result in results if not result.skipped)
    found = ", ".join(f"{counts[name]} {name}{'' if counts[name] == 1 else 's'}" for name in COLOURS if counts[name])
    click.echo(f"{made} checks: {found or 'all is well'}.")


def _shown(check: str, item: dict[str, str]) -> dict[str, str]:
    return {"check": check, **{name: hide_passwords(text) for name, text in item.items()}}
