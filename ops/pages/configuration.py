"""docs/configuration.md: every setting, from the class that holds them, and the other names that are understood."""

from __future__ import annotations

from typing import Any

from pydantic.fields import FieldInfo

from ops.pages.types import bounds_of
from taskflow.settings import Settings
from taskflow.settings.aliases import ALIASES, BROKERS
from taskflow.settings.database_url import PRIVATE_ENDINGS
from taskflow.settings.sources import variable

NOTICE = "<!-- Made by ops/generate-docs from taskflow/settings/: change it there. -->\n"
INTRODUCTION = """\
# Configuration

`DATABASE_URL` is the only setting that is needed. Each has a default; over that counts a file, over that the
environment, and over all a flag of the command:

1. defaults
2. `taskflow.toml` in the current directory, or the file that `TASKFLOW_CONFIG` or `--config` names
3. environment variables `TASKFLOW_<NAME>`, and [other names](#other-names) for some of them; an empty one is none
4. flags, where a command has one

Where neither `DATABASE_URL` nor `TASKFLOW_URL` is set, commands and programs in the directory of a running
`taskflow dev` take its server and its database.

In the file the keys are the names below, in lower case and without `TASKFLOW_`:

```toml
database_url = "postgresql://taskflow@db/app"
imports = ["shop.tasks"]
concurrency = 20
poll_interval = "500ms"
retention_completed = "14d"
```

Lists are comma-separated, or arrays in the file. Durations are seconds, or have units: `500ms`, `10s`, `2m`, `1h30m`,
`7d`, `2w`; none is longer than a hundred years (`36525d`). Switches are `true` or `false`.

Wrong values and unknown keys are all listed at once, each with the file and line, the variable or the flag that it is
from, before anything starts (exit code 2). An unknown variable `TASKFLOW_…` is answered with a warning, also in the log
at the start.

    taskflow config show      # every value in effect and where it comes from, secrets hidden; --json, --changed
    taskflow config check     # exit code 2 and every problem, without connecting to anything
"""
DATABASE = """
## The database

`postgresql://user:password@host:5432/name`, also with `postgres://` or with a driver of SQLAlchemy as
`postgresql+psycopg://`, or libpq's `host=… dbname=…`; parameters of libpq may follow (`?application_name=…`).
In a URL, what is special in a user or password is percent-encoded: `@` as `%40`, `/` as `%2F`, a space as `%20`.

A connection to a remote host is encrypted, `sslmode=require` is added, unless the string (`sslmode`, `service`),
`PGSSLMODE` or `PGSERVICE` says otherwise. Remote is a host with a dot in its name or a public address. Not remote, and
left to libpq (which takes TLS where the server offers it), are Unix sockets, `localhost` and loopback addresses,
private and link-local addresses, names without a dot, as containers and machines nearby have them, and names that end
in {endings}.
Where a server with a dotted name has no TLS, add `sslmode=disable`. `require` does not check who answers:
`sslmode=verify-full&sslrootcert=system` does.
"""
OTHER = """
## Other names

Names that platforms and other programs use. `TASKFLOW_<NAME>` wins over all of them, then `PORT`, then the one that
comes first here.

| variable | means | |
| --- | --- | --- |
"""
BROKER = """
There is no broker, which is said in one line at the start where one of these is set:
{brokers}.
With auth on, a server that listens beyond this machine (`SERVER_ADDR=:8080`) needs a key, see [security](security.md).
What Kubernetes sets for a service named `taskflow` (`TASKFLOW_PORT=tcp://…`) is not taken for a setting.

Attempts and waits (`TASKFLOW_MAX_ATTEMPTS`, `TASKFLOW_RETRY_DELAY`, `TASKFLOW_MAX_RETRY_DELAY`) are registered by
workers for their types: they hold for tasks that say nothing themselves, of handlers that say nothing, and win over
what the queue says. Workers that serve the same types should agree about them.
"""
# The first setting of each section → the section, and where to read more.
SECTIONS = {
    "database_url": ("Everywhere", ""),
    "queues": (
        "Worker",
        "See [metrics](observability.md#metrics) for the port, [signals](operations.md#signals) for its end.",
    ),
    "retention_completed": ("Leader", "See [retention](operations.md#retention)."),
    "smtp_host": ("Task types", "For the workers that run the [task types that come along](handlers.md)."),
    "url": ("Command line", "See [the command line](cli.md)."),
    "host": (
        "Server",
        "See [security](security.md), [events](events.md) and [poolers](operations.md#poolers).",
    ),
}
LONG_LIST = 3
NEXT = "\n\n"
NONE = "\N{EN DASH}"


def page() -> str:
    schemas = Settings.model_json_schema()["properties"]
    lines = [INTRODUCTION]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            title, more = SECTIONS[name]
            lines.append(
                f"\n## {title}\n\n{more and more + NEXT}| variable | default | meaning |\n| --- | --- | --- |\n"
            )
        lines.append(f"| `{variable(name)}` | {_default(field)} | {_meaning(name, field, schemas[name])} |\n")
    endings = [f"`{ending}`" for ending in PRIVATE_ENDINGS]
    lines.append(DATABASE.format(endings=f"{', '.join(endings[:-1])} or {endings[-1]}"))
    lines.append(OTHER)
    for alias in ALIASES:
        means = ", ".join(f"`{variable(name)}`" for name in alias.settings)
        lines.append(f"| `{alias.variable}` | {means} | {alias.note} |\n")
    lines.append(BROKER.format(brokers=", ".join(f"`{name}`" for name in BROKERS)))
    return NOTICE + "".join(lines)


def _default(field: FieldInfo) -> str:
    match field.default:
        case bool(value):
            return str(value).lower()
        case int(value) | float(value):
            return f"{value:.10g}"
        case str(value) if value:
            return f"`{value}`"
        case tuple(names) if names:
            return ", ".join(f"`{name}`" for name in names[:LONG_LIST]) + (", …" if len(names) > LONG_LIST else "")
    return NONE


def _meaning(name: str, field: FieldInfo, schema: dict[str, Any]) -> str:
    parts = [" ".join((field.description or "").split()).replace("|", "\\|")]
    if "enum" in schema:
        parts.append("One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".")
    elif bounds := bounds_of(schema):
        parts.append(f"{bounds[0].upper()}{bounds[1:]}.")
    others = [f"`{alias.variable}`" for alias in ALIASES if name in alias.settings]
    if others:
        parts.append(f"Also {', '.join(others)}.")
    return " ".join(part for part in parts if part)
