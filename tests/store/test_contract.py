"""What docs/sql.md promises to other services: what there is, and since which version of the contract."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from taskflow.store.roles import PRODUCER_COLUMNS
from tests.store.support import Connection

PAGE = Path(__file__).parents[2] / "docs/sql.md"
# What each version has added. Once a version is released its entry is never changed: what is new goes into the next,
# and contract_version() is raised to that.
ADDED: dict[int, dict[str, set[str] | str]] = {
    1: {
        "function": {
            "contract_version() integer",
            "enqueue(type text, payload jsonb DEFAULT '{}'::jsonb, queue text DEFAULT NULL::text,"
            " priority integer DEFAULT NULL::integer,"
            " run_at timestamp with time zone DEFAULT NULL::timestamp with time zone,"
            " unique_key text DEFAULT NULL::text, options jsonb DEFAULT '{}'::jsonb)"
            " TABLE(id bigint, created boolean, state text)",
            "enqueue_many(tasks jsonb) TABLE(index integer, id bigint, created boolean, state text)",
            "cancel(id bigint) text",
            "task_status(id bigint) TABLE(id bigint, type text, queue text, state text, attempt integer,"
            " max_attempts integer, run_at timestamp with time zone, finished_at timestamp with time zone,"
            " progress smallint, result jsonb, error text)",
            "retry_task(id bigint, options jsonb DEFAULT '{}'::jsonb) text",
        },
        "option of enqueue": (
            "max_attempts timeout retry_strategy retry_delay max_retry_delay concurrency_key metadata tags "
            "delay on_conflict unique_for"
        ),
        "field of enqueue_many": (
            "type payload queue priority run_at unique_key max_attempts timeout retry_strategy retry_delay "
            "max_retry_delay concurrency_key metadata tags delay on_conflict unique_for"
        ),
        "option of retry_task": "payload queue priority run_at",
        "column of a producer": (
            "type payload queue priority run_at unique_key max_attempts timeout retry_strategy retry_delay "
            "max_retry_delay metadata tags concurrency_key"
        ),
        "column of task_list": (
            "id type queue payload priority state stored_state attempt failures losses max_attempts timeout "
            "retry_strategy retry_delay max_retry_delay progress progress_message result error metadata tags "
            "unique_key concurrency_key worker_id created_at created_by updated_at run_at claimed_at "
            "started_at finished_at cancel_requested schedule_id version"
        ),
        "column of task_executions": "task_id attempt status worker_id started_at finished_at error traceback logs",
    },
}
FUNCTIONS = """
SELECT format('%%s(%%s) %%s', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid))
FROM pg_proc p WHERE p.pronamespace = 'taskflow'::regnamespace AND p.proname = ANY (%s)
"""
COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = format('taskflow.%%I', %s::text)::regclass AND attnum > 0 AND NOT attisdropped
"""


def named_on_the_page() -> set[str]:
    text = PAGE.read_text()
    return set(re.findall(r"\btaskflow\.(\w+)\(", text)) | set(re.findall(r"^`(\w+)\(", text, re.MULTILINE))


def added(kind: str) -> set[str]:
    """By all versions together."""
    names: set[str] = set()
    for version in ADDED.values():
        here = version.get(kind, "")
        names |= set(here.split()) if isinstance(here, str) else here
    return names


def told(connection: Connection, statement: str) -> set[str]:
    """The options that a hint lists."""
    with pytest.raises(psycopg.errors.InvalidParameterValue) as refused:
        connection.execute(statement.encode())
    return set((refused.value.diag.message_hint or "").partition(" are ")[2].split(", "))


def test_what_there_is_for_other_services_is_what_the_versions_of_the_contract_have_added(
    connection: Connection,
) -> None:
    def column(statement: str, parameter: object) -> set[str]:
        return {name for (name,) in connection.execute(statement.encode(), [parameter])}

    there = {
        "function": column(FUNCTIONS, list(named_on_the_page())),
        "option of enqueue": told(connection, """SELECT taskflow.enqueue('x', options => '{"none": 1}')"""),
        "field of enqueue_many": told(connection, """SELECT taskflow.enqueue_many('[{"none": 1}]')"""),
        "option of retry_task": told(connection, """SELECT taskflow.retry_task(1, '{"none": 1}')"""),
        "column of a producer": set(PRODUCER_COLUMNS),
        "column of task_list": column(COLUMNS, "task_list"),
        "column of task_executions": column(COLUMNS, "task_executions"),
    }
    assert there == {kind: added(kind) for kind in there}
    assert connection.execute("SELECT taskflow.contract_version()").fetchone() == (max(ADDED),)
