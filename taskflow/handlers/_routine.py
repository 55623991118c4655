"""A function or procedure of the database: found by its name and the arguments, and called with JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Identifier

from taskflow import DeadLetter

Arguments = Sequence[Any] | Mapping[str, Any]

# Only parameters that take something (IN, INOUT, VARIADIC) are in `types` and `kinds`; no modes: there are no others.
FIND = """
SELECT pg_catalog.pg_get_function_arguments(p.oid) AS signature,
       p.prokind = 'p' AS is_procedure,
       p.proretset AS returns_set,
       p.prorettype = 'pg_catalog.void'::regtype AS returns_nothing,
       p.provariadic <> 0 AS is_variadic,
       p.pronargdefaults::integer AS defaults,
       coalesce(p.proargnames, '{}') AS names,
       coalesce(p.proargmodes::text[], '{}') AS modes,
       ARRAY(SELECT pg_catalog.format_type(t.oid, NULL)
             FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place) JOIN pg_catalog.pg_type t ON t.oid = a.type
             ORDER BY a.place) AS types,
       ARRAY(SELECT CASE WHEN t.typtype = 'p' THEN 'any'
                         WHEN coalesce(nullif(t.typbasetype, 0), t.oid) = ANY ('{json, jsonb}'::regtype[]) THEN 'json'
                         WHEN t.typcategory = 'A' THEN 'array' ELSE 'scalar' END
             FROM unnest(p.proargtypes) WITH ORDINALITY a (type, place) JOIN pg_catalog.pg_type t ON t.oid = a.type
             ORDER BY a.place) AS kinds
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %s AND p.proname = %s AND p.prokind IN ('f', 'p')
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Routine:
    """One of those that have the name, as the catalog describes it."""

    signature: str
    is_procedure: bool
    returns_set: bool
    returns_nothing: bool
    is_variadic: bool
    defaults: int
    names: list[str]
    modes: list[str]
    types: list[str]
    kinds: list[str]

    @property
    def parameters(self) -> list[str]:
        """The names of the parameters that take something; empty for those that have none."""
        names = self.names or [""] * len(self.types)
        if not self.modes:
            return names
        return [name for name, mode in zip(names, self.modes, strict=True) if mode in ("i", "b", "v")]

    @property
    def gives_parameters_back(self) -> bool:
        """Whether it has OUT or INOUT parameters."""
        return any(mode in ("o", "b", "t") for mode in self.modes)

    def takes(self, arguments: Arguments) -> bool:
        """Whether the arguments are as many as it has parameters, or have their names; defaults may be left out."""
        required = len(self.types) - self.defaults
        if isinstance(arguments, Mapping):
            names = self.parameters
            return set(arguments) <= set(filter(None, names)) and set(names[:required]) <= set(arguments)
        return required <= len(arguments) <= len(self.types)

    def named(self, arguments: Arguments) -> dict[str, Any]:
        """The arguments by the names of their parameters; those of parameters without a name by their place."""
        if isinstance(arguments, Mapping):
            return dict(arguments)
        pairs = zip(self.parameters, arguments, strict=False)  # defaults may be left out
        return {name or str(place): value for place, (name, value) in enumerate(pairs, 1)}

    def call(self, name: Identifier, arguments: Arguments) -> tuple[Composed, list[Any]]:
        """The statement that calls it, for a raw cursor ($1, since a name may have a %), and its parameters.

        Raises `DeadLetter` for a value that has no form in its parameter's type.
        """
        by_name = isinstance(arguments, Mapping)
        given: dict[Any, Any] = dict(arguments) if isinstance(arguments, Mapping) else dict(enumerate(arguments))
        parts: list[Composed] = []
        values: list[Any] = []
        for place, (parameter, type, kind) in enumerate(zip(self.parameters, self.types, self.kinds, strict=True)):
            key = parameter if by_name else place
            if key not in given:
                continue
            values.append(_adapted(given[key], kind, f"{parameter or place + 1} ({type})"))
            last = self.is_variadic and place == len(self.types) - 1
            parts.append(
                SQL("{}{}{}{}").format(
                    SQL("VARIADIC " if last else ""),
                    SQL("{} => ").format(Identifier(parameter)) if by_name else SQL(""),
                    SQL(f"${len(values)}"),
                    SQL("" if kind == "any" else f"::{type}"),  # as the catalog writes it, quoted where it must be
                )
            )
        return self._form().format(name, SQL(", ").join(parts)), values

    def _form(self) -> SQL:
        if self.is_procedure:
            return SQL("CALL {}({})")
        if self.returns_nothing:
            return SQL("SELECT {}({})")
        if self.returns_set:
            return SQL("SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]')::text FROM {}({}) AS f")
        return SQL("SELECT to_jsonb(f)::text FROM {}({}) AS f")


async def find(connection: psycopg.AsyncConnection[Any], schema: str, name: str, arguments: Arguments) -> Routine:
    """The one of this name that takes the arguments. Raises `DeadLetter` where there is none, or more than one."""
    cursor = connection.cursor(row_factory=class_row(Routine))
    found = await (await cursor.execute(FIND, (schema, name))).fetchall()
    if not found:
        raise DeadLetter(
            f"there is no function {schema}.{name} in the database of the queue: create it there, or mend its name"
        )
    fitting = [routine for routine in found if routine.takes(arguments)]
    known = " or ".join(f"{schema}.{name}({routine.signature})" for routine in found)
    if not fitting:
        what = (
            f"arguments named {', '.join(sorted(arguments))}"
            if isinstance(arguments, Mapping) and arguments
            else (f"{len(arguments)} arguments" if len(arguments) != 1 else "1 argument")
        )
        raise DeadLetter(f"{what} do not fit: there is {known}")
    if len(fitting) > 1:
        raise DeadLetter(
            f"the arguments fit {len(fitting)} functions, {known}: give them by name, or wrap one of these"
        )
    if fitting[0].is_procedure and fitting[0].gives_parameters_back:
        raise DeadLetter(f"{known} is a procedure with output parameters: only functions give something back here")
    return fitting[0]


def _adapted(value: Any, kind: str, place: str) -> Any:
    """A JSON value as text for PostgreSQL to cast to the parameter's type. Raises `DeadLetter` where there is none."""
    if value is None:
        return None
    if kind == "json":
        return orjson.dumps(value).decode()
    if kind == "array":
        if not isinstance(value, list):
            raise DeadLetter(f"the argument {place} is an array: give a list, not {_word(value)}")
        return [_adapted(item, "array" if isinstance(item, list) else "scalar", place) for item in value]
    if isinstance(value, list | dict):
        raise DeadLetter(f"the argument {place} takes no {_word(value)}: only parameters of the type jsonb or json do")
    return str(value).lower() if isinstance(value, bool) else str(value)


def _word(value: Any) -> str:
    match value:
        case dict():
            return "object"
        case list():
            return "list"
        case bool():
            return "boolean"
        case str():
            return "text"
    return "number"
