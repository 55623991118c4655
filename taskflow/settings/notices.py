"""What is to be said about variables that are set and do not do what somebody may expect: a line each, no error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from taskflow.settings.aliases import ALIASES, BROKERS, NO_SETTINGS, OTHER_PREFIX
from taskflow.settings.settings import Settings
from taskflow.settings.sources import PREFIX, SERVICE_LINK, near, variable

# What Kubernetes sets for a service whose name begins with "taskflow".
OF_A_SERVICE = re.compile(
    r"_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?$"
)


@dataclass(frozen=True, slots=True)
class Notice:
    """One line about `variables`. A warning: something that was wanted is not done."""

    level: Literal["info", "warning"]
    variables: tuple[str, ...]
    text: str


def notices(environ: Mapping[str, str] | None = None) -> list[Notice]:
    """About the environment as it is now, warnings first."""
    environ = os.environ if environ is None else environ
    found = [*_unknown(environ), *_read_differently(environ), *_brokers(environ)]
    return sorted(found, key=lambda notice: notice.level, reverse=True)


def _unknown(environ: Mapping[str, str]) -> Iterator[Notice]:
    settings = {variable(name) for name in Settings.model_fields}
    others = {alias.variable for alias in ALIASES}
    for name in sorted(environ):
        if name in settings and SERVICE_LINK.fullmatch(environ[name]):
            text = f"{name} describes a service of Kubernetes, and is not used as a setting"
            yield Notice("info", (name,), f"{text}: `enableServiceLinks: false` in the pod keeps it away")
        if not name.startswith((PREFIX, OTHER_PREFIX)) or name in settings | others | NO_SETTINGS:
            continue
        if OF_A_SERVICE.search(name) and f"{OF_A_SERVICE.split(name)[0]}_SERVICE_HOST" in environ:
            continue
        prefix, known = (PREFIX, settings) if name.startswith(PREFIX) else (OTHER_PREFIX, others)
        own = [word.removeprefix(prefix) for word in known if word.startswith(prefix)]
        meant = near(name.removeprefix(prefix), own)
        hint = f"did you mean {prefix}{meant}?" if meant else "`taskflow config show` lists the settings"
        yield Notice("warning", (name,), f"{name} is no setting, and does nothing: {hint}")


def _read_differently(environ: Mapping[str, str]) -> Iterator[Notice]:
    for alias in ALIASES:
        if alias.said and environ.get(alias.variable) and not environ.get(variable(alias.settings[0])):
            yield Notice(
                "info",
                (alias.variable,),
                f"{alias.variable} is read as {variable(alias.settings[0])}: {alias.note.replace('`', '')}",
            )


def _brokers(environ: Mapping[str, str]) -> Iterator[Notice]:
    names = tuple(name for name in BROKERS if environ.get(name))
    if names:
        yield Notice(
            "info",
            names,
            f"{', '.join(names)}: set, and not used. There is no broker: the database in DATABASE_URL is all it needs",
        )
