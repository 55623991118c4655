"""The roles of `roles.py` as statements, and what of them a database lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from textwrap import wrap

import psycopg
from psycopg.errors import DuplicateObject, UniqueViolation
from psycopg.types.json import Jsonb

from taskflow.store.roles import ROLES, Columns, Role

# In the transaction that makes the functions, so that nobody can call a new one in between.
REVOKE_FROM_PUBLIC = "REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA taskflow FROM PUBLIC;"

HEADER = """\
-- The roles of taskflow and their rights. To be run in the database of taskflow, by a login that may create roles and
-- may grant on the schema; can be repeated. Then give a login what it needs: GRANT taskflow_producer TO my_service;
"""


@dataclass(frozen=True, slots=True)
class Right:
    """One privilege of one role; `kind` is schema, table, column or function. The role "public" should not have it."""

    role: str
    privilege: str
    kind: str
    name: str
    column: str = ""

    def __str__(self) -> str:
        on = f"taskflow.{self.name}" if self.kind != "schema" else self.name
        return f"{self.role}: {self.privilege}{f' ({self.column})' if self.column else ''} on {self.kind} {on}"


def create_roles_sql() -> str:
    """The statements that make the roles: they belong to the whole server, so another database may have made them."""
    return "\n".join(
        f"""\
-- {role.name} {role.purpose}.
DO $$ BEGIN
    CREATE ROLE {role.name} NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING '% may not create the role {role.name}', current_user
            USING HINT = 'an administrator can run what taskflow grants prints';
END $$;"""
        for role in ROLES
    )


def grant_sql(role: Role) -> str:
    """One statement that gives `role` all its rights, and does nothing where there is no such role."""
    tables: dict[str, list[str]] = {}
    for table, privileges in role.tables.items():
        what = ", ".join(_privilege(name, columns) for name, columns in privileges.items())
        tables.setdefault(what, []).append(f"taskflow.{table}")
    grants = [_wrapped(f"GRANT {what} ON {', '.join(names)} TO {role.name};", 4) for what, names in tables.items()]
    lines = "\n    ".join([f"GRANT USAGE ON SCHEMA taskflow TO {role.name};", *grants])
    functions = ", ".join(f"'{name}'" for name in role.functions)
    # A loop, since a name may come to stand for several functions: a signature never changes, a new one is added.
    return f"""\
DO $$
DECLARE
    v_function regprocedure;
BEGIN
    IF to_regrole('{role.name}') IS NULL THEN RETURN; END IF;
    {lines}
    FOR v_function IN
        SELECT p.oid FROM pg_catalog.pg_proc p
        WHERE p.pronamespace = 'taskflow'::regnamespace AND p.proname IN (
            {_wrapped(functions, 12)})
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO {role.name}', v_function);
    END LOOP;
END $$;"""


def as_sql() -> str:
    """Everything that `taskflow grants` prints: roles, what PUBLIC loses, what each role gets."""
    return "\n".join([HEADER, create_roles_sql(), REVOKE_FROM_PUBLIC, *map(grant_sql, ROLES)]) + "\n"


def missing_roles(connection: psycopg.Connection) -> list[str]:
    """The roles that this server does not have."""
    names = [role.name for role in ROLES]
    found = connection.execute("SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY (%s)", [names]).fetchall()
    return [name for name in names if (name,) not in found]


def may_create_roles(connection: psycopg.Connection) -> bool:
    """Whether the login has the right to create roles."""
    row = connection.execute(
        "SELECT rolsuper OR rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user"
    ).fetchone()
    return bool(row and row[0])


def create_role(connection: psycopg.Connection, name: str) -> None:
    """Create a role, unless another migration, of another database maybe, has been faster."""
    with suppress(DuplicateObject, UniqueViolation):
        connection.execute(f"CREATE ROLE {name} NOLOGIN".encode())


def problems(connection: psycopg.Connection) -> list[Right]:
    """The rights that the roles of this server lack in this database, and functions that PUBLIC may call.

    Roles and objects that do not exist are none of its business. More than the list gives is no problem: yesterday's
    workers still call what tomorrow's list has no more.
    """
    rights = [_as_row(right) for role in ROLES for right in _rights(role)]
    rows = connection.execute(PROBLEMS, [Jsonb(rights)]).fetchall()
    return [Right(*row) for row in rows]


def grant(connection: psycopg.Connection) -> list[str]:
    """In the open transaction, give each role what it lacks and take from PUBLIC; returns the roles that lacked it."""
    if any(right.role == "public" for right in problems(connection)):
        connection.execute(REVOKE_FROM_PUBLIC.encode())
    lacking = {right.role for right in problems(connection)}  # not before: what PUBLIC may, no role lacks
    for role in ROLES:
        if role.name in lacking:
            connection.execute(grant_sql(role).encode())
    return sorted(lacking)


PROBLEMS = """
WITH schema AS (
    SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'taskflow'
), wanted AS (
    SELECT r.role, r.privilege, r.kind, r.name, r."column"
    FROM schema, jsonb_to_recordset(%s) AS r(role text, privilege text, kind text, name text, "column" text)
    WHERE to_regrole(r.role) IS NOT NULL
)
SELECT w.* FROM wanted w
WHERE w.kind = 'schema' AND NOT has_schema_privilege(w.role, w.name, w.privilege)
UNION ALL
SELECT w.* FROM wanted w JOIN pg_catalog.pg_class c ON c.relname = w.name AND c.relnamespace = (SELECT oid FROM schema)
WHERE w.kind = 'table' AND NOT has_table_privilege(w.role, c.oid, w.privilege)
UNION ALL
SELECT w.* FROM wanted w JOIN pg_catalog.pg_class c ON c.relname = w.name AND c.relnamespace = (SELECT oid FROM schema)
WHERE w.kind = 'column' AND NOT has_column_privilege(w.role, c.oid, w."column", w.privilege)
UNION ALL
SELECT w.* FROM wanted w JOIN pg_catalog.pg_proc p ON p.proname = w.name AND p.pronamespace = (SELECT oid FROM schema)
WHERE w.kind = 'function' AND NOT has_function_privilege(w.role, p.oid, w.privilege)
UNION ALL
SELECT 'public', 'EXECUTE', 'function', p.proname, '' FROM pg_catalog.pg_proc p
WHERE p.pronamespace = (SELECT oid FROM schema) AND has_function_privilege('public', p.oid, 'EXECUTE')
"""


def _rights(role: Role) -> Iterator[Right]:
    yield Right(role.name, "USAGE", "schema", "taskflow")
    for table, privileges in role.tables.items():
        for privilege, columns in privileges.items():
            if columns:
                yield from (Right(role.name, privilege, "column", table, column) for column in columns)
            else:
                yield Right(role.name, privilege, "table", table)
    yield from (Right(role.name, "EXECUTE", "function", name) for name in role.functions)


def _as_row(right: Right) -> dict[str, str]:
    return {name: getattr(right, name) for name in ("role", "privilege", "kind", "name", "column")}


def _privilege(name: str, columns: Columns) -> str:
    return f"{name} ({', '.join(columns)})" if columns else name


def _wrapped(text: str, indent: int) -> str:
    return f"\n{' ' * indent}".join(wrap(text, 120 - indent))
