"""JSON schemas in words, for the cells of a table."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
WORDS = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}


def type_of(schema: Schema) -> str:
    """The type of what fits `schema`, with a link where it is an object that has a section of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()}-object)"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(choice) for choice in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"object of {type_of(values)}" if isinstance(values, dict) and values else "object"
    if schema.get("format") == "date-time":
        return "time"
    return WORDS.get(str(kind), "any")


def described(schema: Schema) -> str:
    """What is said about it beside its type: its meaning, its bounds, its default."""
    parts = [str(schema["description"])] if "description" in schema else []
    parts += [bounds] if (bounds := bounds_of(schema)) else []
    if schema.get("default") not in (None, {}, [], ""):
        parts.append(
            f"default `{str(schema['default']).lower() if schema['default'] in (True, False) else schema['default']}`"
        )
    if schema.get("deprecated") and not any("older name" in part for part in parts):
        parts.append("deprecated")
    return "; ".join(part.replace("\n", " ").replace("|", "\\|").rstrip(".") for part in parts)


def bounds_of(schema: Schema) -> str:
    """The least and the most that fit."""
    found = next((choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"), schema)
    low, high = found.get("minimum"), found.get("maximum")
    if "exclusiveMinimum" in found:
        more = f"more than {_number(found['exclusiveMinimum'])}"
        return more if high is None else f"{more}, at most {_number(high)}"
    if "minLength" in found or "maxLength" in found:
        return f"{found.get('minLength', 0)} to {found['maxLength']} characters" if "maxLength" in found else ""
    if "maxItems" in found:
        return f"at most {found['maxItems']}"
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}"
    return f"at least {_number(low)}" if low is not None else f"at most {_number(high)}" if high is not None else ""


def _number(value: float) -> str:
    return f"{value:,.10g}"
