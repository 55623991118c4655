"""Handlers whose writes and whose end are one commit, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from taskflow import Context
from taskflow.tasks.handler import HandlerOptions
from taskflow.tasks.registry import task
from tests.worker.conftest import Bench

Body = Callable[[psycopg.Connection[Any], Context], Any]


def write(conn: psycopg.Connection[Any], context: Context) -> None:
    conn.execute("INSERT INTO effects VALUES (%s, %s)", (context.task_id, context.attempt))


def declare(bench: Bench, body: Body, after: Callable[[Context], Any] = lambda _: None, **options: Any) -> None:
    """The type `book`: `body` in the block, then `after`."""
    typed: HandlerOptions = {"retry": "fixed", **options}  # type: ignore[typeddict-item]

    @task("book", registry=bench.registry, **typed)
    def book(payload: dict[str, Any], context: Context) -> Any:
        with context.transaction() as conn:
            write(conn, context)
            body(conn, context)
        return after(context)


def nothing(conn: psycopg.Connection[Any], context: Context) -> None: ...


def named(logs: list[Any], name: str) -> list[Any]:
    return [entry for entry in logs if entry["event"] == name]


def complaints(logs: list[Any]) -> list[Any]:
    return [entry for entry in logs if entry["log_level"] in ("warning", "error", "critical")]
