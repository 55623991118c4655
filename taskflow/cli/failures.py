"""What went wrong, as every command says it: a code that never changes, what, why, the way out, and where to read on.
The last is for a checkout, which has the pages.

::

    error[TF-TASK-NOT-FOUND]: No such task
      why: There is no task 7. It may have been removed by retention.
      fix: Look for it with `taskflow tasks list`.
      docs: docs/errors.md
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import click

from taskflow import errors
from taskflow.cli.failure_kinds import BY_STATUS, KINDS, Kind, code_shown
from taskflow.cli.plain import clean, color

MOST_REASONS = 10
CHECKOUT = Path(__file__).parents[2]
IMPORTS = "Correct TASKFLOW_IMPORTS or --import, or start taskflow in the directory of the module."


class Refusal(errors.TaskflowError):
    """A command that cannot be done, with a code of `KINDS`; `why` is a sentence or several, `fix` in place of the
    kind's."""

    def __init__(self, code: str, why: str | Sequence[str] = (), fix: str | None = None) -> None:
        self.code = code
        self.why = (why,) if isinstance(why, str) else tuple(why)
        self.fix = fix
        super().__init__("; ".join(self.why))

    @property
    def kind(self) -> Kind:
        """What is known about its code."""
        return KINDS[self.code]


class ApiRefusal(Refusal):
    """A problem document that the API has answered; `document` is its members."""

    def __init__(self, document: dict[str, Any], status: int) -> None:
        self.document = document
        given = document.get("code")
        known = given in KINDS
        super().__init__(str(given) if known else "api_error", _reasons(document, status))
        self.status = status
        self._kind = KINDS[self.code] if known else KINDS["api_error"]._replace(exit_code=BY_STATUS.get(status, 1))

    @property
    def kind(self) -> Kind:
        """As its code says; one that is newer than this program, by its status."""
        return self._kind


class Failed(click.ClickException):
    """The end of a command: click shows it and exits with its code."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """As the code of the refusal says."""
        return self.refusal.kind.exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it to stderr."""
        kind = self.refusal.kind
        head = f"error[{code_shown(self.refusal.code)}]:"
        click.echo(f"{click.style(head, fg='red', bold=True)} {clean(kind.what)}", err=True, file=file, color=color())
        lines = [("why", reason) for reason in self.refusal.why]
        lines.append(("fix", self.refusal.fix or kind.fix))
        if (CHECKOUT / kind.docs).is_file():
            lines.append(("docs", kind.docs))
        for name, text in lines:
            click.echo(
                f"  {click.style(name + ':', bold=True)} {clean(text, indent=4)}", err=True, file=file, color=color()
            )


def failed(error: Exception, *, debug: bool = False) -> Failed:
    """How a command ends that raised `error`; with `debug` the traceback is printed first."""
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    return Failed(refusal_of(error))


def refusal_of(error: Exception) -> Refusal:
    """The refusal that an exception means."""
    match error:
        case Refusal():
            return error
        case Failed():
            return error.refusal
        case click.ClickException():
            return _of_click(error)
        case errors.TaskflowError():
            return _of_taskflow(error)
    last = traceback.extract_tb(error.__traceback__)
    place = f", at {Path(last[-1].filename).name} line {last[-1].lineno}" if last else ""
    return Refusal("internal", f"{type(error).__name__}: {error}{place}")


def _of_taskflow(error: errors.TaskflowError) -> Refusal:
    said = str(error)
    match error:
        case errors.SettingsError():
            of_imports = all(problem.startswith("TASKFLOW_IMPORTS: ") for problem in error.problems)
            return Refusal("settings", error.problems, IMPORTS if of_imports else None)
        case errors.HandlersNotImported():
            return Refusal("handlers_not_imported", error.problems)
        case errors.TaskNotFound():
            return Refusal("task_not_found", said)
        case errors.UniqueConflict():
            return Refusal("unique_conflict", said)
        case errors.WrongState():
            return Refusal("wrong_state", said)
        case errors.QueueFull():
            return Refusal("queue_full", said)
        case errors.WaitTimeout():
            return Refusal("wait_timeout", said)
        case errors.DatabaseUnavailable():
            return Refusal("database_unavailable", said)
        case errors.SchemaMismatch():
            return Refusal("schema_mismatch", said)
        case errors.DatabaseMissing():
            return Refusal("database_missing", said)
        case errors.LoginRefused():
            return Refusal("login_refused", said)
        case errors.NotAllowed():
            return Refusal("not_allowed", said)
        case errors.InvalidPayload():
            return Refusal("invalid_payload", said)
        case errors.InvalidTask():
            return Refusal("invalid_task", said)
        case errors.InvalidSchedule():
            return Refusal("invalid_request", said)
        case errors.FilterTooBroad():
            return Refusal("filter_too_broad", said)
        case errors.InvalidFilter():
            return Refusal("invalid_filter", said)
        case errors.RegistrationError():
            return Refusal("registration", said)
    return Refusal("failed", said or type(error).__name__)


def _of_click(error: click.ClickException) -> Refusal:
    context = error.ctx if isinstance(error, click.UsageError) else None
    words = context.command_path.split()[1:] if context is not None else []
    path = " ".join(["taskflow", *words])  # whatever the program was called
    why = error.format_message()
    if isinstance(error, click.NoSuchOption) and context is not None:
        pieces = context.command.collect_usage_pieces(context)
        name = error.option_name.lstrip("-").upper()
        if name in (piece.strip("[].") for piece in pieces):
            why = f"{why} {name} is given without one: {' '.join([path, *pieces])}"
    return Refusal("usage", why, f"`{path} --help` shows what it takes.")


def _reasons(document: dict[str, Any], status: int) -> list[str]:
    found = document.get("errors")
    if isinstance(found, list) and len(found) > 1:
        reasons = [f"{item.get('pointer')}: {item.get('detail')}" for item in found if isinstance(item, dict)]
        more = len(reasons) - MOST_REASONS
        return reasons[:MOST_REASONS] + ([f"and {more} more"] if more > 0 else [])
    return [str(document.get("detail") or document.get("title") or f"the server answered {status}")]
