"""docs/configuration.md: every setting, from the class that reads them."""

from __future__ import annotations

from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from ops.pages.types import bounds_of
from taskflow.settings import Settings

NOTICE = "<!-- Made by ops/generate-docs from taskflow/settings.py: change it there. -->\n"
INTRODUCTION = """\
# Configuration

Each setting is an environment variable, and `DATABASE_URL` is the only one that is needed. Wrong values are all
listed at once, before anything starts. Where a command has a flag for it, the flag wins. Lists are comma-separated,
durations are in seconds, switches are `true` or `false`.
"""
# The first setting of each section → the section, and where to read more.
SECTIONS = {
    "database_url": ("Everywhere", ""),
    "queues": (
        "Worker",
        "See [metrics](operations.md#metrics) for the port, [signals](operations.md#signals) for its end.",
    ),
    "retention_completed": ("Leader", "See [retention](operations.md#retention)."),
    "host": (
        "Server",
        "See [security](security.md), [events](events.md) and [poolers](operations.md#poolers).",
    ),
}
LONG_LIST = 3
NEXT = "\n\n"
NONE = "\N{EN DASH}"


def page() -> str:
    schemas = Settings.model_json_schema(by_alias=False)["properties"]
    lines = [INTRODUCTION]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            title, more = SECTIONS[name]
            lines.append(
                f"\n## {title}\n\n{more and more + NEXT}| variable | default | meaning |\n| --- | --- | --- |\n"
            )
        lines.append(f"| `{variable(name, field)}` | {_default(field)} | {_meaning(name, field, schemas[name])} |\n")
    return NOTICE + "".join(lines)


def variable(name: str, field: FieldInfo) -> str:
    """The environment variable of a setting; where there are several, the one that platforms set."""
    return next((word for word in _aliases(field) if not word.startswith("TASKFLOW_")), f"TASKFLOW_{name.upper()}")


def _aliases(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(word) for word in alias.choices if str(word).isupper()] if isinstance(alias, AliasChoices) else []


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
    others = [word for word in _aliases(field) if word != variable(name, field)]
    parts += [f"`{word}` wins over it." for word in others]
    return " ".join(part for part in parts if part)
