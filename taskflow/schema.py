"""The tables and views of taskflow for SQLAlchemy: what the API reads through, and what a user's ORM may map.

::

    from taskflow.schema import task_list

    class Task(Base):
        __table__ = task_list        # a view: read it; write with taskflow.Client or the SQL functions

Made by migrations and sql/, never from here: `metadata.create_all()` would make tables without their partitions,
constraints and triggers. A test compares every column with a migrated database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB, TIMESTAMP

SCHEMA = "taskflow"

metadata = MetaData(schema=SCHEMA)

task_state = ENUM(
    "pending",
    "retrying",
    "running",
    "blocked",
    "completed",
    "cancelled",
    "failed",
    "dead_letter",
    name="task_state",
    schema=SCHEMA,
    create_type=False,
)
execution_outcome = ENUM(
    "succeeded",
    "failed",
    "timed_out",
    "lost",
    "cancelled",
    "snoozed",
    name="execution_outcome",
    schema=SCHEMA,
    create_type=False,
)
retry_strategy = ENUM("fixed", "linear", "exponential", name="retry_strategy", schema=SCHEMA, create_type=False)

Time = TIMESTAMP(timezone=True)
Texts = ARRAY(Text)


def _key(name: str, type_: Any) -> Column[Any]:
    return Column(name, type_, primary_key=True, autoincrement=False)


def _set(name: str, type_: Any) -> Column[Any]:
    return Column(name, type_, nullable=False)


def _task_columns() -> list[Column[Any]]:
    return [
        Column("id", BigInteger, primary_key=True),
        _set("run_at", Time),
        _set("created_at", Time),
        _set("updated_at", Time),
        Column("claimed_at", Time),
        Column("started_at", Time),
        Column("finished_at", Time),
        Column("worker_id", BigInteger),
        Column("schedule_id", BigInteger),
        Column("timeout", Double),
        Column("retry_delay", Double),
        Column("max_retry_delay", Double),
        _set("state", task_state),
        _set("attempt", Integer),
        _set("failures", Integer),
        _set("losses", Integer),
        Column("max_attempts", Integer),
        _set("version", Integer),
        Column("retry_strategy", retry_strategy),
        _set("priority", SmallInteger),
        Column("progress", SmallInteger),
        _set("cancel_requested", Boolean),
        _set("queue", Text),
        _set("type", Text),
        _set("payload", JSONB),
        _set("metadata", JSONB),
        _set("tags", Texts),
        Column("unique_key", Text),
        Column("concurrency_key", Text),
        _set("created_by", Text),
        Column("progress_message", Text),
        Column("result", JSONB),
        Column("error", Text),
        Column("fingerprint", Text),
        Column("claim_number", BigInteger),
        Column("key_state", task_state),
    ]


def _execution_columns() -> list[Column[Any]]:
    return [
        _key("task_id", BigInteger),
        _set("started_at", Time),
        _set("finished_at", Time),
        Column("worker_id", BigInteger),
        _key("attempt", Integer),
        _set("outcome", execution_outcome),
        _set("queue", Text),
        _set("type", Text),
        Column("error", Text),
        Column("traceback", Text),
        Column("logs", JSONB),
    ]


tasks = Table("tasks", metadata, *_task_columns())
tasks_live = Table("tasks_live", metadata, *_task_columns())
tasks_dead = Table("tasks_dead", metadata, *_task_columns())
executions = Table("executions", metadata, *_execution_columns(), Column("next_state", task_state))
executions_kept = Table("executions_kept", metadata, *_execution_columns())

# Every task, with the state that people see (`scheduled` is possible) and the limits that hold for it.
task_list = Table(
    "task_list",
    metadata,
    _key("id", BigInteger),
    _set("type", Text),
    _set("queue", Text),
    _set("payload", JSONB),
    _set("priority", SmallInteger),
    _set("state", Text),
    _set("stored_state", task_state),
    _set("attempt", Integer),
    _set("failures", Integer),
    _set("losses", Integer),
    _set("max_attempts", Integer),
    _set("timeout", Double),
    Column("retry_strategy", retry_strategy),
    Column("retry_delay", Double),
    Column("max_retry_delay", Double),
    Column("progress", SmallInteger),
    Column("progress_message", Text),
    Column("result", JSONB),
    Column("error", Text),
    _set("metadata", JSONB),
    _set("tags", Texts),
    Column("unique_key", Text),
    Column("concurrency_key", Text),
    Column("worker_id", BigInteger),
    _set("created_at", Time),
    _set("created_by", Text),
    _set("updated_at", Time),
    _set("run_at", Time),
    Column("claimed_at", Time),
    Column("started_at", Time),
    Column("finished_at", Time),
    _set("cancel_requested", Boolean),
    Column("schedule_id", BigInteger),
    _set("version", Integer),
    info={"is_view": True},
)

# Every attempt, the one under way included.
task_executions = Table(
    "task_executions",
    metadata,
    _key("task_id", BigInteger),
    _key("attempt", Integer),
    _set("status", Text),
    Column("worker_id", BigInteger),
    _set("started_at", Time),
    Column("finished_at", Time),
    Column("error", Text),
    Column("traceback", Text),
    Column("logs", JSONB),
    info={"is_view": True},
)

queues = Table(
    "queues",
    metadata,
    _key("name", Text),
    _set("priority", Integer),
    _set("weight", Integer),
    Column("max_workers", Integer),
    _set("key_limit", Integer),
    Column("rate_limit", Integer),
    _set("rate_period", Double),
    _set("type_limits", JSONB),
    _set("max_retries", Integer),
    _set("retry_strategy", retry_strategy),
    _set("retry_delay", Double),
    _set("max_retry_delay", Double),
    _set("retry_jitter", Double),
    _set("timeout", Double),
    _set("max_depth", Integer),
    _set("dead_letter", Boolean),
    Column("dead_letter_queue", Text),
    Column("aging_seconds", Double),
    _set("retention", JSONB),
    _set("paused", Boolean),
    _set("version", Integer),
    _set("created_at", Time),
    _set("updated_at", Time),
    _set("limited_at", Time),
)

task_types = Table(
    "task_types",
    metadata,
    _key("type", Text),
    Column("schema", JSONB),
    Column("description", Text),
    Column("queue", Text),
    Column("priority", SmallInteger),
    Column("max_attempts", Integer),
    Column("timeout", Double),
    Column("retry_strategy", retry_strategy),
    Column("retry_delay", Double),
    Column("max_retry_delay", Double),
    _set("first_seen", Time),
    _set("last_seen", Time),
)

workers = Table(
    "workers",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _set("hostname", Text),
    _set("pid", Integer),
    Column("queues", Texts),
    _set("types", Texts),
    _set("concurrency", Integer),
    _set("state", Text),
    _set("active_tasks", Integer),
    _set("heartbeat", BigInteger),
    _set("last_heartbeat", Time),
    _set("started_at", Time),
    _set("version", Text),
)

claims = Table(
    "claims",
    metadata,
    _key("worker_id", BigInteger),
    _key("id", BigInteger),
    _set("task_ids", ARRAY(BigInteger)),
    Column("queue", Text),
)

leases = Table("leases", metadata, _key("name", Text), _set("holder", Text), _set("expires_at", Time))

schedules = Table(
    "schedules",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _set("name", Text),
    _set("type", Text),
    _set("queue", Text),
    _set("payload", JSONB),
    _set("priority", SmallInteger),
    Column("cron", Text),
    Column("interval", Double),
    _set("timezone", Text),
    _set("missed", Text),
    _set("overlap", Text),
    _set("jitter", Double),
    Column("max_runs", Integer),
    Column("starts_at", Time),
    Column("ends_at", Time),
    _set("enabled", Boolean),
    _set("options", JSONB),
    Column("next_run_at", Time),
    Column("last_run_at", Time),
    _set("run_count", BigInteger),
    _set("version", Integer),
    _set("created_at", Time),
    _set("updated_at", Time),
    Column("definition", JSONB),
)

schedule_runs = Table(
    "schedule_runs", metadata, _key("schedule_id", BigInteger), _key("fire_at", Time), Column("task_id", BigInteger)
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _set("name", Text),
    _set("prefix", Text),
    _set("hash", LargeBinary),
    _set("scopes", Texts),
    Column("queues", Texts),
    Column("expires_at", Time),
    Column("last_used_at", Time),
    Column("revoked_at", Time),
    _set("created_at", Time),
    _set("from_environment", Boolean),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    _key("scope", Text),
    _key("key", Text),
    _set("request_hash", LargeBinary),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    _set("created_at", Time),
)

rate_windows = Table(
    "rate_windows",
    metadata,
    _key("queue", Text),
    _key("type", Text),
    _key("window_start", Time),
    _set("starts", Integer),
)

unique_windows = Table(
    "unique_windows",
    metadata,
    _key("type", Text),
    _key("unique_key", Text),
    _set("task_id", BigInteger),
    _set("until", Time),
)

task_stats = Table(
    "task_stats",
    metadata,
    _key("minute", Time),
    _key("queue", Text),
    _key("type", Text),
    _key("outcome", execution_outcome),
    _set("count", BigInteger),
    _set("duration_seconds", Double),
    _set("duration_buckets", ARRAY(BigInteger)),
    Column("last_finished_at", Time),
    _set("retried", BigInteger),
    _set("dead_lettered", BigInteger),
)

task_totals = Table(
    "task_totals",
    metadata,
    _key("queue", Text),
    _key("type", Text),
    _set("first_seen", Time),
    _set("created", BigInteger),
    _set("completed", BigInteger),
    _set("failed", BigInteger),
    _set("retried", BigInteger),
    _set("dead_lettered", BigInteger),
    _set("rescued", BigInteger),
)

totals_counted = Table(
    "totals_counted",
    metadata,
    _key("only_row", Boolean),
    _set("minute", Time),
    _set("task_id", BigInteger),
    Column("next_id", BigInteger),
    Column("next_xid", BigInteger),
    Column("noted_at", Time),
)

task_ends = Table(
    "task_ends",
    metadata,
    _key("minute", Time),
    _key("queue", Text),
    _key("state", task_state),
    _key("whole_day", Boolean),
    _set("count", BigInteger),
)

task_removals = Table("task_removals", metadata, _set("minute", Time), _set("queue", Text), _set("state", task_state))

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _set("at", Time),
    _set("actor", Text),
    _set("action", Text),
    Column("target", Text),
    _set("details", JSONB),
)

event_listeners = Table(
    "event_listeners", metadata, _key("id", Uuid), _set("events", Texts), _set("since", Time), _set("until", Time)
)

event_batches = Table(
    "event_batches", metadata, Column("id", BigInteger, primary_key=True), _set("at", Time), _set("body", Text)
)

event_outbox = Table(
    "event_outbox",
    metadata,
    Column("id", BigInteger, primary_key=True),
    _set("at", Time),
    _set("event", Text),
    _set("tasks", JSONB),
)

event_tickets = Table(
    "event_tickets", metadata, _key("digest", LargeBinary), _set("holder", JSONB), _set("expires_at", Time)
)
