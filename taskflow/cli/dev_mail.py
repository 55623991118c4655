"""`taskflow dev mail`: what the mailbox of `taskflow dev` has caught."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import click

from taskflow.cli.dev_mailbox import Arrived, Mailbox
from taskflow.cli.failures import Refusal
from taskflow.cli.output import Column, echo_items, echo_json, echo_line, say
from taskflow.cli.plain import clean
from taskflow.settings.running_dev import DIRECTORY

COLUMNS = (
    Column("number", lambda mail: mail.number, right=True),
    Column("arrived", lambda mail: mail.arrived_at, lambda time: time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")),
    Column("from", lambda mail: mail.envelope_from, long=True),
    Column("to", lambda mail: mail.envelope_to, long=True),
    Column("subject", lambda mail: mail.subject, long=True),
)


@click.command("mail")
@click.argument("number", type=click.IntRange(1), required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON: the mail as one object, or all, one a line.")
@click.option("--source", is_flag=True, help="The mail as it arrived, its envelope on top.")
@click.option(
    "--directory", type=click.Path(path_type=Path), help="Where taskflow dev keeps its data. [default: .taskflow]"
)
@click.pass_context
def mail(context: click.Context, number: int | None, as_json: bool, source: bool, directory: Path | None) -> None:
    """Show the mails that tasks have sent, the latest first, or the one of this NUMBER.

    Nothing is sent on to anybody. The latest 200 are kept.
    """
    if source and number is None:
        raise click.UsageError("--source shows one mail: name its NUMBER.")
    outer: Path | None = context.parent.params.get("directory") if context.parent else None
    home = directory or outer or DIRECTORY
    if not home.is_dir():
        raise Refusal(
            "failed",
            f"No `taskflow dev` has run here: there is no directory {home.absolute()}.",
            "Start one here (`taskflow dev`, or ops/dev), go where it runs, or name its directory with --directory.",
        )
    mailbox = Mailbox.of(home)
    if number is None:
        _show_list(mailbox, as_json=as_json)
    elif source:
        click.echo(mailbox.source(number), nl=False)
    else:
        found = mailbox.mail(number)
        echo_json(found.as_object()) if as_json else click.echo(_text(found))


def _show_list(mailbox: Mailbox, *, as_json: bool) -> None:
    if as_json:
        for found in mailbox.mails():
            echo_line(found.as_object())
        return
    if mails := list(mailbox.mails()):
        echo_items(COLUMNS, mails)
    else:
        say("No mail has arrived yet.")


def _text(found: Arrived) -> str:
    """The mail to be read at a terminal, which must not obey what stands in it."""
    lines = [f"{name}: {value}" for name, value in found.message.items() if not name.lower().startswith("content-")]
    lines.append(f"(delivered to: {', '.join(found.envelope_to)})")
    text = found.body("plain")
    lines += ["", (text if text is not None else found.body("html") or "").replace("\r\n", "\n").rstrip("\n")]
    for part in found.attachments():
        lines.append(f"[attached: {part['filename']}, {part['content_type']}, {part['size_bytes']:,} bytes]")
    return clean("\n".join(lines))
