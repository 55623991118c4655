"""All tables of taskflow. Functions, views and triggers are not here: they are in sql/ and applied after every migration.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# Rules that every producer must keep are domains where they are costly to check: a domain is checked when a value is
# given, a CHECK at every claim and every completion of the row again.
# A value that comes out of another table may still be compressed, and pg_column_size tells the compressed size: 20 MB of
# one letter would pass as 200 kB.
TYPES = """
CREATE TYPE taskflow.task_state AS ENUM
    ('pending', 'retrying', 'running', 'blocked', 'completed', 'cancelled', 'failed', 'dead_letter');
CREATE TYPE taskflow.execution_outcome AS ENUM
    ('succeeded', 'failed', 'timed_out', 'lost', 'cancelled', 'snoozed');
CREATE TYPE taskflow.retry_strategy AS ENUM ('fixed', 'linear', 'exponential');
CREATE DOMAIN taskflow.task_type AS text
    CONSTRAINT type_is_1_to_200_characters CHECK (length(VALUE) BETWEEN 1 AND 200);
-- Not {1,100}: a bounded repetition was measured to cost as much as all the rest of inserting a row by COPY.
CREATE DOMAIN taskflow.queue_name AS text
    CONSTRAINT queue_is_1_to_100_letters_digits_dot_dash_underscore_colon
        CHECK (length(VALUE) BETWEEN 1 AND 100 AND VALUE COLLATE "C" !~ '[^A-Za-z0-9._:-]');
CREATE DOMAIN taskflow.short_key AS text
    CONSTRAINT key_is_1_to_500_characters CHECK (length(VALUE) BETWEEN 1 AND 500);
CREATE DOMAIN taskflow.json_object AS jsonb
    CONSTRAINT value_is_a_json_object CHECK (jsonb_typeof(VALUE) = 'object')
    CONSTRAINT value_is_at_most_1_mib CHECK (
        CASE WHEN pg_column_compression(VALUE) IS NULL THEN pg_column_size(VALUE) ELSE octet_length(VALUE::text) END <= 1048576);
CREATE DOMAIN taskflow.tag_list AS text[]
    CONSTRAINT tags_are_at_most_20 CHECK (cardinality(VALUE) <= 20)
    CONSTRAINT tags_are_at_most_20_kb CHECK (
        CASE WHEN pg_column_compression(VALUE) IS NULL THEN pg_column_size(VALUE) ELSE octet_length(VALUE::text) END <= 20480)
    CONSTRAINT tags_are_not_null CHECK (array_position(VALUE, NULL) IS NULL);
"""

TASKS = """
CREATE TABLE taskflow.tasks (
    id               bigint GENERATED ALWAYS AS IDENTITY,
    run_at           timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    claimed_at       timestamptz,
    started_at       timestamptz,
    finished_at      timestamptz,
    worker_id        bigint,
    schedule_id      bigint,
    timeout          double precision,
    retry_delay      double precision,
    max_retry_delay  double precision,
    state            taskflow.task_state NOT NULL DEFAULT 'pending',
    attempt          integer NOT NULL DEFAULT 0,
    failures         integer NOT NULL DEFAULT 0,
    losses           integer NOT NULL DEFAULT 0,
    max_attempts     integer,
    version          integer NOT NULL DEFAULT 1,
    retry_strategy   taskflow.retry_strategy,
    priority         smallint NOT NULL DEFAULT 1,
    progress         smallint,
    cancel_requested boolean NOT NULL DEFAULT false,
    queue            taskflow.queue_name NOT NULL DEFAULT 'default',
    type             taskflow.task_type NOT NULL,
    payload          taskflow.json_object NOT NULL DEFAULT '{}',
    metadata         taskflow.json_object NOT NULL DEFAULT '{}',
    tags             taskflow.tag_list NOT NULL DEFAULT '{}',
    unique_key       taskflow.short_key,
    concurrency_key  taskflow.short_key,
    created_by       text NOT NULL DEFAULT session_user,
    progress_message text,
    result           jsonb,
    error            text
) PARTITION BY LIST (state);

CREATE TABLE taskflow.tasks_live PARTITION OF taskflow.tasks (
    PRIMARY KEY (id),
    CONSTRAINT priority_is_0_to_3 CHECK (priority BETWEEN 0 AND 3),
    CONSTRAINT max_attempts_is_1_to_1000 CHECK (max_attempts BETWEEN 1 AND 1000),
    CONSTRAINT timeout_is_positive_and_at_most_30_days CHECK (timeout > 0 AND timeout <= 2592000),
    CONSTRAINT retry_delay_is_0_to_30_days CHECK (retry_delay BETWEEN 0 AND 2592000),
    CONSTRAINT max_retry_delay_is_0_to_30_days CHECK (max_retry_delay BETWEEN 0 AND 2592000),
    CONSTRAINT run_at_is_a_finite_time CHECK (run_at BETWEEN '2000-01-01 00:00+00' AND '2200-01-01 00:00+00'),
    CONSTRAINT running_tasks_have_a_worker_and_others_none CHECK (
        CASE WHEN state = 'running' THEN worker_id IS NOT NULL AND claimed_at IS NOT NULL ELSE worker_id IS NULL END),
    CONSTRAINT live_tasks_are_not_finished CHECK (finished_at IS NULL)
) FOR VALUES IN ('pending', 'retrying', 'running', 'blocked')
  WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off,
        toast.autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_cost_delay = 0, toast.vacuum_truncate = off);

CREATE TABLE taskflow.tasks_dead PARTITION OF taskflow.tasks (
    PRIMARY KEY (id),
    CONSTRAINT dead_letters_are_finished CHECK (finished_at IS NOT NULL)
) FOR VALUES IN ('dead_letter');

CREATE TABLE taskflow.tasks_completed PARTITION OF taskflow.tasks
    FOR VALUES IN ('completed') PARTITION BY RANGE (finished_at);
CREATE TABLE taskflow.tasks_ended PARTITION OF taskflow.tasks
    FOR VALUES IN ('cancelled', 'failed') PARTITION BY RANGE (finished_at);

-- The claim walks this one in order; type is last so that a worker of few types filters inside the index.
CREATE INDEX tasks_claim ON taskflow.tasks_live (queue, priority, run_at, id, type)
    WHERE state IN ('pending', 'retrying');
-- Not WHERE state = 'running': with stale statistics the planner would prefer that to the primary key in completions.
CREATE INDEX tasks_worker ON taskflow.tasks_live (worker_id) WHERE worker_id IS NOT NULL;
CREATE UNIQUE INDEX tasks_unique_key ON taskflow.tasks_live (type, unique_key) WHERE unique_key IS NOT NULL;
"""

EXECUTIONS = """
CREATE TABLE taskflow.executions (
    task_id     bigint NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    worker_id   bigint,
    attempt     integer NOT NULL,
    outcome     taskflow.execution_outcome NOT NULL,
    queue       text NOT NULL,
    type        text NOT NULL,
    error       text,
    traceback   text,
    logs        jsonb
) PARTITION BY RANGE (finished_at);
CREATE INDEX executions_task ON taskflow.executions (task_id, attempt);
CREATE INDEX executions_finished ON taskflow.executions USING brin (finished_at)
    WITH (pages_per_range = 32, autosummarize = on);
-- The rows of a dropped day whose tasks still exist, so that a dead letter never loses its audit.
CREATE TABLE taskflow.executions_kept (LIKE taskflow.executions, PRIMARY KEY (task_id, attempt));
"""

# The settings of queues, workers, schedules.
CONFIGURATION = """
CREATE TABLE taskflow.queues (
    name              taskflow.queue_name PRIMARY KEY,
    priority          integer NOT NULL DEFAULT 0,
    weight            integer NOT NULL DEFAULT 1 CONSTRAINT weight_is_positive CHECK (weight > 0),
    max_workers       integer CONSTRAINT max_workers_is_positive CHECK (max_workers > 0),
    key_limit         integer NOT NULL DEFAULT 1 CONSTRAINT key_limit_is_positive CHECK (key_limit > 0),
    rate_limit        integer CONSTRAINT rate_limit_is_positive CHECK (rate_limit > 0),
    rate_period       double precision NOT NULL DEFAULT 1 CONSTRAINT rate_period_is_positive CHECK (rate_period > 0),
    type_limits       taskflow.json_object NOT NULL DEFAULT '{}',
    max_retries       integer NOT NULL DEFAULT 4 CONSTRAINT max_retries_is_0_to_999 CHECK (max_retries BETWEEN 0 AND 999),
    retry_strategy    taskflow.retry_strategy NOT NULL DEFAULT 'exponential',
    retry_delay       double precision NOT NULL DEFAULT 1
        CONSTRAINT retry_delay_is_0_to_30_days CHECK (retry_delay BETWEEN 0 AND 2592000),
    max_retry_delay   double precision NOT NULL DEFAULT 600
        CONSTRAINT max_retry_delay_is_0_to_30_days CHECK (max_retry_delay BETWEEN 0 AND 2592000),
    retry_jitter      double precision NOT NULL DEFAULT 0.1
        CONSTRAINT retry_jitter_is_0_to_1 CHECK (retry_jitter BETWEEN 0 AND 1),
    timeout           double precision NOT NULL DEFAULT 300
        CONSTRAINT timeout_is_positive_and_at_most_30_days CHECK (timeout > 0 AND timeout <= 2592000),
    max_depth         integer NOT NULL DEFAULT 1000000 CONSTRAINT max_depth_is_positive CHECK (max_depth > 0),
    dead_letter       boolean NOT NULL DEFAULT true,
    dead_letter_queue text,
    aging_seconds     double precision CONSTRAINT aging_seconds_is_positive CHECK (aging_seconds > 0),
    retention         taskflow.json_object NOT NULL DEFAULT '{}',
    paused            boolean NOT NULL DEFAULT false,
    version           integer NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
INSERT INTO taskflow.queues (name) VALUES ('default');

-- What live workers can run, written at their start; the defaults are those of the handler's registration.
CREATE TABLE taskflow.task_types (
    type            taskflow.task_type PRIMARY KEY,
    schema          jsonb,
    description     text,
    queue           taskflow.queue_name,
    priority        smallint,
    max_attempts    integer,
    timeout         double precision,
    retry_strategy  taskflow.retry_strategy,
    retry_delay     double precision,
    max_retry_delay double precision,
    first_seen      timestamptz NOT NULL DEFAULT now(),
    last_seen       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE taskflow.workers (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hostname       text NOT NULL,
    pid            integer NOT NULL,
    queues         text[],                              -- NULL: every queue
    types          text[] NOT NULL,
    concurrency    integer NOT NULL,
    state          text NOT NULL DEFAULT 'running'      -- what an operator wants of it
        CONSTRAINT state_is_running_paused_or_draining CHECK (state IN ('running', 'paused', 'draining')),
    active_tasks   integer NOT NULL DEFAULT 0,
    heartbeat      bigint NOT NULL DEFAULT 0,           -- a counter, not a time: clocks jump
    last_heartbeat timestamptz NOT NULL DEFAULT now(),  -- for people
    started_at     timestamptz NOT NULL DEFAULT now(),
    version        text NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);

CREATE TABLE taskflow.leases (
    name       text PRIMARY KEY,
    holder     text NOT NULL,
    expires_at timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE taskflow.schedules (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        taskflow.short_key NOT NULL UNIQUE,
    type        taskflow.task_type NOT NULL,
    queue       taskflow.queue_name NOT NULL DEFAULT 'default',
    payload     taskflow.json_object NOT NULL DEFAULT '{}',
    priority    smallint NOT NULL DEFAULT 1 CONSTRAINT priority_is_0_to_3 CHECK (priority BETWEEN 0 AND 3),
    cron        text,
    interval    double precision CONSTRAINT interval_is_positive CHECK (interval > 0),
    timezone    text NOT NULL DEFAULT 'UTC',
    missed      text NOT NULL DEFAULT 'once'
        CONSTRAINT missed_is_skip_once_or_all CHECK (missed IN ('skip', 'once', 'all')),
    overlap     text NOT NULL DEFAULT 'allow' CONSTRAINT overlap_is_allow_or_skip CHECK (overlap IN ('allow', 'skip')),
    jitter      double precision NOT NULL DEFAULT 0 CONSTRAINT jitter_is_not_negative CHECK (jitter >= 0),
    max_runs    integer CONSTRAINT max_runs_is_positive CHECK (max_runs > 0),
    starts_at   timestamptz,
    ends_at     timestamptz,
    enabled     boolean NOT NULL DEFAULT true,
    options     taskflow.json_object NOT NULL DEFAULT '{}',
    next_run_at timestamptz,
    last_run_at timestamptz,
    run_count   bigint NOT NULL DEFAULT 0,
    version     integer NOT NULL DEFAULT 1,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT a_schedule_has_either_cron_or_interval CHECK ((cron IS NULL) <> (interval IS NULL))
);
CREATE INDEX schedules_due ON taskflow.schedules (next_run_at) WHERE enabled;
-- One row a fire time: what makes a schedule fire exactly once, however many leaders run.
CREATE TABLE taskflow.schedule_runs (
    schedule_id bigint NOT NULL REFERENCES taskflow.schedules ON DELETE CASCADE,
    fire_at     timestamptz NOT NULL,
    task_id     bigint,
    PRIMARY KEY (schedule_id, fire_at)
);
"""

OPERATION = """
CREATE TABLE taskflow.api_keys (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL,
    prefix       text NOT NULL,
    hash         bytea NOT NULL UNIQUE,
    scopes       text[] NOT NULL
        CONSTRAINT scopes_are_known CHECK (scopes <@ ARRAY['read', 'enqueue', 'operate', 'admin']),
    queues       text[],
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE taskflow.idempotency_keys (
    scope        text NOT NULL,      -- API key, method and path
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    status       integer,            -- NULL: still in progress
    headers      jsonb,
    body         bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_age ON taskflow.idempotency_keys (created_at);

CREATE TABLE taskflow.rate_windows (
    queue        taskflow.queue_name NOT NULL,
    type         text NOT NULL DEFAULT '',
    window_start timestamptz NOT NULL,
    starts       integer NOT NULL,
    PRIMARY KEY (queue, type, window_start)
);

-- Per minute, for charts; filled by the leader from executions.
CREATE TABLE taskflow.task_stats (
    minute           timestamptz NOT NULL,
    queue            text NOT NULL,
    type             text NOT NULL,
    outcome          taskflow.execution_outcome NOT NULL,
    count            bigint NOT NULL,
    duration_seconds double precision NOT NULL,   -- the sum
    duration_buckets bigint[] NOT NULL,           -- see taskflow.duration_bucket()
    PRIMARY KEY (minute, queue, type, outcome)
);

CREATE TABLE taskflow.audit_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT now(),
    actor   text NOT NULL,
    action  text NOT NULL,
    target  text,
    details jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_at ON taskflow.audit_log (at);

-- What migrate applied of sql/: one row a file, so that status can tell what is pending.
CREATE TABLE taskflow.sql_objects (
    path       text PRIMARY KEY,
    hash       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Create the types and tables; the schema itself and alembic's version table are made by `taskflow migrate`."""
    for part in (TYPES, TASKS, EXECUTIONS, CONFIGURATION, OPERATION):
        op.execute(part)


def downgrade() -> None:
    """Going back is done by restoring a backup: dropping the tables would drop the tasks."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
