"""The files of sql/ as objects of the database: what they are, in which order they can be made, and which are applied.

An object is applied again when the hash of its file differs from the one in `taskflow.sql_objects`. What is no longer
in sql/ stays in the database: yesterday's workers may still call it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from hashlib import sha256

import psycopg

from taskflow.store import resources

COMMENT = re.compile(r"--[^\n]*")
BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
REFERENCE = re.compile(r"\btaskflow\.(\w+)")


@dataclass(frozen=True, slots=True)
class SqlObject:
    """One file below sql/ that makes one function, view or trigger, named like the file."""

    path: str
    text: str

    @property
    def kind(self) -> str:
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2].removesuffix(".sql")

    @property
    def hash(self) -> str:
        """What is compared. A trigger's is blind to comments and layout: not worth touching a trigger for."""
        text = " ".join(COMMENT.sub("", self.text).split()) if self.kind == "triggers" else self.text
        return sha256(text.encode()).hexdigest()

    @property
    def record(self) -> str:
        """The statement that remembers this file as applied."""
        return (
            f"INSERT INTO taskflow.sql_objects (path, hash) VALUES ('{self.path}', '{self.hash}')\n"
            "    ON CONFLICT (path) DO UPDATE SET hash = excluded.hash, applied_at = now();"
        )

    def needs(self) -> set[str]:
        """The names in the schema that must exist before this can be made.

        The bodies of functions do not count, they are looked up at the first call (check_function_bodies is off).
        """
        return set(REFERENCE.findall(BODY.sub("", COMMENT.sub("", self.text)))) - {self.name}


def load(*kinds: str) -> list[SqlObject]:
    """The objects of these kinds (``functions``, ``views``, ``triggers``), in an order in which they can be made."""
    objects = [SqlObject(path, text) for path, text in resources.sql_files().items() if path.partition("/")[0] in kinds]
    return in_order(objects)


def in_order(objects: Iterable[SqlObject]) -> list[SqlObject]:
    """Sort so that each comes after what it needs. Raises graphlib.CycleError where that cannot be."""
    by_name = {item.name: item for item in objects}
    graph = {name: sorted(item.needs() & by_name.keys()) for name, item in by_name.items()}
    return [by_name[name] for name in TopologicalSorter(graph).static_order()]


def applied(connection: psycopg.Connection) -> dict[str, str]:
    """Path → hash of what `migrate` has applied in this database; empty before its first run."""
    known = connection.execute("SELECT to_regclass('taskflow.sql_objects') IS NOT NULL").fetchone()
    if not known or not known[0]:
        return {}
    return dict(connection.execute("SELECT path, hash FROM taskflow.sql_objects").fetchall())


def pending(connection: psycopg.Connection, *kinds: str) -> list[SqlObject]:
    """Those of `load` whose file is not what was applied last."""
    hashes = applied(connection)
    return [item for item in load(*kinds) if hashes.get(item.path) != item.hash]


def with_dependents(item: SqlObject, objects: Sequence[SqlObject]) -> list[SqlObject]:
    """`item` and all of `objects` that cannot be without it, in the order given, in which they can be made."""
    found = [item]
    for other in objects:
        if other.needs() & {one.name for one in found}:
            found.append(other)
    return found
