"""`taskflow tasks retry`, `cancel` and `delete`: some by their ids, or all that fit a filter."""

from __future__ import annotations

from typing import Any

import click

from taskflow.cli.api import Api
from taskflow.cli.batches import Batch, carry_out, counted
from taskflow.cli.commands.tasks.showing import state_line
from taskflow.cli.commands.tasks.words import PRIORITIES
from taskflow.cli.connected import connected, dry_run_option, json_option, yes_option
from taskflow.cli.failures import ApiRefusal, Failed, Refusal
from taskflow.cli.groups import Choice
from taskflow.cli.output import confirm, echo_json, say
from taskflow.cli.values import Id, JsonObject, Moment, QueueName

ids_argument = click.argument("ids", nargs=-1, type=Id(), metavar="[ID]...")
filter_option = click.option("--filter", "filter_", metavar="FILTER", help="All that fit, as 'state:failed type:mail'.")
pace_option = click.option(
    "--per-second", type=click.FloatRange(0, 100_000, min_open=True), metavar="N", help="No faster than that."
)


@click.command("retry")
@ids_argument
@filter_option
@click.option("--payload", type=JsonObject(), metavar="JSON", help="Another payload, or @FILE, or - for stdin.")
@click.option("--queue", type=QueueName(), help="Another queue.")
@click.option("--priority", type=Choice(PRIORITIES), help="Another priority.")
@click.option("--at", "scheduled_at", type=Moment(), metavar="TIME", help="Not before this time.")
@pace_option
@dry_run_option
@yes_option
@json_option
@connected("tasks")
def retry(
    api: Api, ids: tuple[str, ...], filter_: str | None, per_second: float | None, dry_run: bool, yes: bool,
    as_json: bool, **changes: Any,
) -> None:  # fmt: skip
    """Make ended tasks pending again, with their failures forgotten.

    A filter reaches everything that has ended, what completed too: name the states that you mean.

    \b
    taskflow tasks retry 42
    taskflow tasks retry --filter 'state:dead_letter error:timeout' --per-second 50
    """
    changed = {name: value for name, value in changes.items() if value is not None}
    if _by_ids(ids, filter_, per_second, dry_run):
        _each(api, ids, lambda task_id: api.post(f"/tasks/{task_id}/retry", changed), as_json=as_json)
        return
    _many(api, Batch("retry", "made pending again", filter_ or "", changed, per_second), dry_run, yes, as_json)


@click.command("cancel")
@ids_argument
@filter_option
@pace_option
@dry_run_option
@yes_option
@json_option
@connected("tasks")
def cancel(
    api: Api, ids: tuple[str, ...], filter_: str | None, per_second: float | None, dry_run: bool, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Cancel tasks: what waits ends at once, the workers of what runs are asked to stop."""
    if _by_ids(ids, filter_, per_second, dry_run):
        _each(api, ids, lambda task_id: api.post(f"/tasks/{task_id}/cancel"), as_json=as_json)
        return
    _many(api, Batch("cancel", "cancelled", filter_ or "", {}, per_second), dry_run, yes, as_json)


@click.command("delete")
@ids_argument
@filter_option
@pace_option
@dry_run_option
@yes_option
@json_option
@connected("tasks")
def delete(
    api: Api, ids: tuple[str, ...], filter_: str | None, per_second: float | None, dry_run: bool, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Remove ended tasks and their attempts, for good."""
    if _by_ids(ids, filter_, per_second, dry_run):
        confirm(f"Remove {len(set(ids)):,} task{'s' * (len(set(ids)) > 1)} with all attempts, for good?", yes=yes)
        _each(api, ids, lambda task_id: api.delete(f"/tasks/{task_id}", purge=True), as_json=as_json)
        return
    _many(api, Batch("delete", "removed for good", filter_ or "", {}, per_second), dry_run, yes, as_json)


def _by_ids(ids: tuple[str, ...], filter_: str | None, per_second: float | None, dry_run: bool) -> bool:
    """Whether tasks are named by their ids. Raises `UsageError` unless there are either ids or a filter."""
    if bool(ids) == bool(filter_ and filter_.strip()):
        raise click.UsageError("Give either ids or --filter.", click.get_current_context())
    if ids and (per_second is not None or dry_run):
        raise click.UsageError("--per-second and --dry-run are for --filter.", click.get_current_context())
    return bool(ids)


def _each(api: Api, ids: tuple[str, ...], change: Any, *, as_json: bool) -> None:
    """Do it to each; one that cannot be does not keep the others from it, and the last such one is the exit code."""
    answers, refused = [], None
    for task_id in dict.fromkeys(ids):
        try:
            answer = change(task_id)
        except ApiRefusal as refusal:
            if len(set(ids)) == 1 or refusal.kind.exit_code not in (3, 4):
                raise
            Failed(refusal).show()
            refused = refusal
            continue
        answers.append(answer)
        if not as_json:
            _echo(answer)
    if as_json:
        echo_json(answers[0] if len(set(ids)) == 1 else answers)
    if refused is not None:
        raise click.exceptions.Exit(refused.kind.exit_code)


def _echo(answer: dict[str, Any]) -> None:
    if "state" not in answer:
        click.echo(f"{answer['task_id']}\tremoved")
        return
    state_line(answer | {"error": None})
    if answer["state"] == "running":
        say(f"Task {answer['id']} runs: its worker has been asked to stop.")


def _many(api: Api, batch: Batch, dry_run: bool, yes: bool, as_json: bool) -> None:
    matched = counted(api, batch)
    if dry_run:
        if as_json:
            echo_json({"matched": matched, "affected": 0, "dry_run": True})
        else:
            click.echo(f"{matched:,} tasks would be {batch.done}.")
        return
    affected = 0
    if matched:
        confirm(f"{matched:,} task{' is' if matched == 1 else 's are'} to be {batch.done}. Go on?", yes=yes)
        affected = carry_out(api, batch, matched)
    if as_json:
        echo_json({"matched": matched, "affected": affected, "dry_run": False})
    else:
        click.echo(f"{affected:,} of {matched:,} tasks {batch.done}.")
    if matched and not affected:
        raise Refusal("wrong_state", "None of them is as it was when they were counted.")
