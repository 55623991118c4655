"""The settings themselves: what is open to whom, and what was meant and not understood."""

from __future__ import annotations

from collections.abc import Iterator

from taskflow.cli.commands.doctor import finding
from taskflow.cli.commands.doctor.finding import Finding
from taskflow.cli.commands.doctor.subject import Check, Subject
from taskflow.settings import notices


def auth(subject: Subject) -> Iterator[Finding]:
    """Whether the server asks for keys where others can reach it."""
    settings = subject.settings
    if settings.auth == "on":
        return
    from taskflow.web.access.auth import is_loopback  # and with it all of Flask

    if not is_loopback(settings.host) or "*" in settings.allowed_hosts:
        yield finding.warning(
            f"the server asks for no key and listens on {settings.host}",
            "whoever reaches it may do everything, unless something in front of it asks who they are",
            "TASKFLOW_AUTH=on with `taskflow keys create`, or TASKFLOW_HOST=127.0.0.1",
        )


def variables(_subject: Subject) -> Iterator[Finding]:
    """Variables that look like settings and are none."""
    for notice in notices():
        make = finding.warning if notice.level == "warning" else finding.note
        yield make(notice.text.partition(":")[0], notice.text.partition(":")[2].strip(), "`taskflow config show`")


CHECKS = (Check("auth", "settings", auth), Check("variables", "settings", variables))
