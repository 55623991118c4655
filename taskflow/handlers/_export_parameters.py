"""Parameters of an export's query, written into it as literals, since COPY takes none.

A text becomes a literal of letters, digits and escapes alone. So it stays a value wherever its placeholder stands: also
one in a comment, which a line break in a literal as others write it would end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from taskflow import DeadLetter

Scalar = str | int | float | bool | None
Value = Scalar | Sequence[Scalar]

PERCENT = re.compile(r"%(?:%|\((?P<name>[A-Za-z_][A-Za-z0-9_]*)\)s|(?P<wrong>.{0,20}))", re.DOTALL)
SPECIAL = re.compile(r"[^A-Za-z0-9]")


def bound(query: str, params: Mapping[str, Value]) -> str:
    """The query with each `%(name)s` as its value, and each `%%` as a percent sign.

    Raises `DeadLetter` for any other percent sign, for a parameter that is missing, and for one that is not used.
    """
    if "\0" in query:
        raise DeadLetter("the query contains the character U+0000")
    used: set[str] = set()

    def literal(found: re.Match[str]) -> str:
        if found["wrong"] is not None:
            raise DeadLetter(f"in the query a percent sign is written %%, and a parameter %(name)s: see {found[0]!r}")
        name = found["name"]
        if name is None:
            return "%"
        if name not in params:
            raise DeadLetter(f"the query needs the parameter {name!r}: give it in params")
        used.add(name)
        return _literal(params[name])

    text = PERCENT.sub(literal, query)
    if unused := sorted(params.keys() - used):
        raise DeadLetter(f"the query has no parameter {', '.join(unused)}")
    return text


def _literal(value: Value) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return str(value).upper()
        case int() | float():
            return f" {value}"  # or two minus signs could meet
        case str():
            return _text(value)
    return _text("{" + ",".join(map(_element, value)) + "}")


def _element(value: Scalar) -> str:
    """An element of an array, as PostgreSQL reads one from text."""
    if value is None:
        return "NULL"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(value: str) -> str:
    """PostgreSQL takes the type of such a literal from what stands around it."""
    if "\0" in value:
        raise DeadLetter("a parameter contains the character U+0000, which PostgreSQL cannot store")
    return f"E'{SPECIAL.sub(_escape, value)}'"


def _escape(found: re.Match[str]) -> str:
    return f"\\U{ord(found[0]):08x}"
