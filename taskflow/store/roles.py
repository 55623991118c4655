"""Who may do what: the one list from which the statements, the check of `migrate` and that of `doctor` are derived.

A login gets its rights by membership: ``GRANT taskflow_producer TO my_service``. What no role needs is granted to none,
and to PUBLIC nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Columns = tuple[str, ...]
EVERY_COLUMN: Columns = ()


@dataclass(frozen=True, slots=True)
class Role:
    """A role without login. `tables`: table or view → privilege → its columns; `functions`: those it may call."""

    name: str
    purpose: str
    tables: Mapping[str, Mapping[str, Columns]]
    functions: tuple[str, ...]


# What a producer decides about its task; the rest of the columns is the queue's own business.
PRODUCER_COLUMNS = (
    "type",
    "payload",
    "queue",
    "priority",
    "run_at",
    "max_attempts",
    "timeout",
    "retry_strategy",
    "retry_delay",
    "max_retry_delay",
    "unique_key",
    "concurrency_key",
    "metadata",
    "tags",
)
API_KEY_COLUMNS = (
    "id",
    "name",
    "prefix",
    "scopes",
    "queues",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "created_at",
    "from_environment",
)

READ: Mapping[str, Columns] = {"SELECT": EVERY_COLUMN}
WRITE: Mapping[str, Columns] = dict.fromkeys(("SELECT", "INSERT", "UPDATE", "DELETE"), EVERY_COLUMN)

# Every program asks at its start whether the schema fits it.
SCHEMA_TABLES = {"alembic_version": READ, "sql_objects": READ}
SCHEMA_FUNCTIONS = ("contract_version", "oldest_revision")

# The trigger on INSERT calls the last two with the rights of who inserts.
PRODUCER_FUNCTIONS = (*SCHEMA_FUNCTIONS, "enqueue", "enqueue_many", "cancel", "task_status", "ring", "refuse_full")

WORKER_FUNCTIONS = (
    "register_worker",
    "register_types",
    "deregister_worker",
    "heartbeat",
    "set_worker_state",
    "claim_tasks",
    "claim_limited",
    "ring_waiting",
    "complete_tasks",
    "mark_started",
    "claimed_by",
    "locked_tasks",
    "report_progress",
    "release_tasks",
    "next_due",
    "take_bells",
    "give_bells",
    "events_wanted",
    "publish_events",
    "sync_schedules",
)
LEADER_FUNCTIONS = (
    "acquire_lease",
    "release_lease",
    "rescue_tasks",
    "record_claims",
    "orphaned_workers",
    "release_waiting_keys",
    "forget_ended",
    "ensure_days",
    "keep_executions",
    "forget_executions",
    "roll_up_minutes",
    "add_to_totals",
    "count_created",
    "roll_up_endings",
    "count_forgotten_day",
    "fold_endings",
    "ended_days",
    "expire_rows",
    "fire_schedules",
    "forget_schedule_runs",
)
READABLE = (
    "tasks",
    "tasks_live",
    "tasks_dead",
    "tasks_completed",
    "tasks_ended",
    "task_list",
    "executions",
    "executions_kept",
    "task_executions",
    "queues",
    "task_types",
    "workers",
    "claims",
    "leases",
    "schedules",
    "schedule_runs",
    "rate_windows",
    "unique_windows",
    "task_stats",
    "task_ends",
    "task_removals",
    "task_totals",
    "totals_counted",
    "audit_log",
)
READER_TABLES: Mapping[str, Mapping[str, Columns]] = {
    **SCHEMA_TABLES,
    **dict.fromkeys(READABLE, READ),
    "api_keys": {"SELECT": API_KEY_COLUMNS},
}
# A view reads its tables with its owner's rights, but calls its functions with those of who asks.
LOOK_UP_FUNCTIONS = (
    "task_status",
    "waiting_facts",
    "waiting_limits",
    "find_task",
    "read_task",
    "task_attempts",
    "shown_state",
    "effective_max_attempts",
    "effective_timeout",
)
READER_FUNCTIONS = (
    *SCHEMA_FUNCTIONS,
    *LOOK_UP_FUNCTIONS,
    "duration_bounds",
    "duration_bucket",
    "queue_depths",
    "queue_depths_below",
    "live_counts",
    "running_counts",
    "ended_counts",
    "read_totals",
)

EVENT_FUNCTIONS = (
    "listen_for_events",
    "stop_listening_for_events",
    "events_wanted",
    "publish_events",
    "read_event_batches",
    "observe_tasks",
    "create_event_ticket",
    "event_ticket_holder",
)

OF_PEOPLE_AND_PROGRAMS = (
    Role(
        name="taskflow_producer",
        purpose="creates tasks, and sees and cancels its own",
        tables={**SCHEMA_TABLES, "tasks": {"INSERT": PRODUCER_COLUMNS, "SELECT": ("id",)}},
        functions=PRODUCER_FUNCTIONS,
    ),
    Role(
        name="taskflow_worker",
        purpose="runs tasks, and the loops of the leader; its handlers may create tasks and look at them",
        tables={
            **SCHEMA_TABLES,
            "tasks": {"INSERT": PRODUCER_COLUMNS, "SELECT": EVERY_COLUMN},
            **dict.fromkeys(("task_list", "task_executions"), READ),
            **dict.fromkeys(("queues", "task_types", "workers", "leases", "schedules"), READ),
            **dict.fromkeys(("task_stats", "task_ends"), READ),
        },
        functions=(
            *dict.fromkeys((*PRODUCER_FUNCTIONS, *LOOK_UP_FUNCTIONS)),
            *WORKER_FUNCTIONS,
            *LEADER_FUNCTIONS,
        ),
    ),
    Role(
        name="taskflow_reader",
        purpose="reads everything but the hashes of API keys and stored answers",
        tables=READER_TABLES,
        functions=READER_FUNCTIONS,
    ),
    Role(
        name="taskflow_operator",
        purpose="reads, cancels and retries every task, and changes queues, schedules and what workers shall do",
        tables={
            **READER_TABLES,
            "queues": WRITE,
            "schedules": WRITE,
            "workers": {"SELECT": EVERY_COLUMN, "UPDATE": ("state",)},
            "audit_log": {"SELECT": EVERY_COLUMN, "INSERT": EVERY_COLUMN},
        },
        functions=(
            *READER_FUNCTIONS,
            *EVENT_FUNCTIONS,
            "enqueue",
            "enqueue_and_read",
            "enqueue_many",
            "cancel",
            "retry_task",
            "lock_task",
            "change_task",
            "remove_task",
            "apply_to_tasks",
            "ring",
            "run_schedule",
            "set_worker_state",
            "adopt_queues",
            "cancel_waiting",
            "retry_dead_letters",
            "remove_dead_letters",
        ),
    ),
)

OPERATOR = OF_PEOPLE_AND_PROGRAMS[-1]
# Apart from the operator's: who can read hashes and add keys can do everything by the API.
SERVER = Role(
    name="taskflow_server",
    purpose="is the REST API: an operator that also keeps the API keys and the answers of Idempotency-Key",
    tables={
        **OPERATOR.tables,
        "tasks": {"INSERT": PRODUCER_COLUMNS, "SELECT": EVERY_COLUMN},
        "api_keys": {"SELECT": EVERY_COLUMN, "INSERT": EVERY_COLUMN, "UPDATE": ("last_used_at", "revoked_at")},
        "idempotency_keys": WRITE,
    },
    functions=(*dict.fromkeys((*OPERATOR.functions, *PRODUCER_FUNCTIONS)), "begin_request"),
)
ROLES = (*OF_PEOPLE_AND_PROGRAMS, SERVER)

# Called only by other functions, with the rights of the schema's owner, or by triggers.
INTERNAL_FUNCTIONS = (
    "admit_keyed",
    "first_of_key",
    "forget_claims",
    "is_zoned",
    "release_keys",
    "raise_key_limit",
    "types_of",
    "wait_for_tasks",
    "announce_events",
    "check_enqueue_options",
    "count_starts",
    "end_attempt",
    "error_fingerprint",
    "is_operator",
    "limit_queue",
    "note_removal",
    "tell_of_queue",
    "retry_delay",
    "refuse_schedule_times",
    "ring_on_insert",
    "schedules_changed",
    "starts_left",
    "wake_schedules",
    "window_part",
    "window_span",
)
