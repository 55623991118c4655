"""What the REST API needs beside the tables of the engine.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The key that TASKFLOW_ADMIN_KEY gives is known again, so that a new value of the variable takes the old one's place.
KEYS = """
ALTER TABLE taskflow.api_keys ADD COLUMN from_environment boolean NOT NULL DEFAULT false;
CREATE INDEX audit_log_target ON taskflow.audit_log (target, id);
CREATE INDEX audit_log_actor ON taskflow.audit_log (actor, id);
"""

# Figures of what has ended, without a scan of history: how many tasks ended in each minute, counted by the leader, and
# those that have left since (retried, removed), noted by a trigger; see roll_up_endings.
FIGURES = """
ALTER TABLE taskflow.task_stats ADD COLUMN last_finished_at timestamptz;
CREATE INDEX task_stats_queue ON taskflow.task_stats (queue, minute);
CREATE TABLE taskflow.task_ends (
    minute    timestamptz NOT NULL,
    queue     text NOT NULL,
    state     taskflow.task_state NOT NULL,
    whole_day boolean NOT NULL DEFAULT false,   -- all of the day (UTC) that begins then, without what was removed
    count     bigint NOT NULL,
    PRIMARY KEY (minute, queue, state, whole_day)
);
CREATE TABLE taskflow.task_removals (
    minute timestamptz NOT NULL,
    queue  text NOT NULL,
    state  taskflow.task_state NOT NULL
);
-- The few waiting tasks whose state the index tasks_claim does not tell.
CREATE INDEX tasks_held_back ON taskflow.tasks_live (queue, priority, state, run_at) WHERE state IN ('retrying', 'blocked');
"""

# Dead letters: found by age, queue and type, and grouped by what they died of.
DEAD_LETTERS = """
ALTER TABLE taskflow.tasks ADD COLUMN fingerprint text;
CREATE INDEX tasks_dead_added ON taskflow.tasks_dead (finished_at, id);
CREATE INDEX tasks_dead_queue ON taskflow.tasks_dead (queue, finished_at, id);
CREATE INDEX tasks_dead_type ON taskflow.tasks_dead (type, finished_at, id);
CREATE INDEX tasks_dead_groups ON taskflow.tasks_dead (fingerprint, type, finished_at, id, queue);
"""

# Events: who listens, what was published for them, what has happened without a worker, and tickets of browsers. A crash
# of the server ends all that listens, so none of this need survive one.
EVENTS = """
CREATE UNLOGGED TABLE taskflow.event_listeners (
    id     uuid PRIMARY KEY,                  -- one a web process, while somebody listens there
    events text[] NOT NULL,
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE UNLOGGED TABLE taskflow.event_batches (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    body text NOT NULL
);
CREATE UNLOGGED TABLE taskflow.event_outbox (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    event text NOT NULL,
    tasks jsonb NOT NULL
);
CREATE UNLOGGED TABLE taskflow.event_tickets (
    digest     bytea PRIMARY KEY,             -- SHA-256
    holder     jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
"""

# The lists of tasks read history in the order of ids (the primary keys) or of finished_at. What is too rare to be found
# soon on that way is found by what BRIN knows about each 16 pages: completions pay next to nothing for it, while one more
# B-tree of completed tasks was measured to cost them 7 us a task. Its id and finished_at are written as no other index has
# them: so a statement that asks for them in this form can only be planned with it, also without statistics.
LISTS = """
CREATE INDEX tasks_completed_order ON taskflow.tasks_completed (finished_at);
CREATE INDEX tasks_completed_summary ON taskflow.tasks_completed USING brin (
    (id + 0), created_at, (finished_at - timestamptz 'epoch'), type text_bloom_ops, queue text_bloom_ops,
    priority int2_minmax_multi_ops, worker_id int8_bloom_ops) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX tasks_ended_order ON taskflow.tasks_ended (finished_at);
CREATE INDEX tasks_ended_summary ON taskflow.tasks_ended USING brin (
    (id + 0), created_at, (finished_at - timestamptz 'epoch'), type text_bloom_ops, queue text_bloom_ops,
    priority int2_minmax_multi_ops, worker_id int8_bloom_ops) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX tasks_ended_state ON taskflow.tasks_ended (state, id);
"""

# Schedules: what a worker's code defines (NULL: made by somebody else), the runs of one by their tasks, and by age.
SCHEDULES = """
ALTER TABLE taskflow.schedules ADD COLUMN definition jsonb;
CREATE INDEX schedule_runs_task ON taskflow.schedule_runs (schedule_id, task_id) WHERE task_id IS NOT NULL;
CREATE INDEX schedule_runs_age ON taskflow.schedule_runs (fire_at);
-- In the place of schedules_due: pages are read in its order.
CREATE INDEX schedules_by_time ON taskflow.schedules (next_run_at, id) WHERE enabled;
DROP INDEX taskflow.schedules_due;
"""

# Counters for monitoring, which never fall. What became of a task is written with the attempt that did not succeed.
COUNTERS = """
ALTER TABLE taskflow.executions ADD COLUMN next_state taskflow.task_state;
ALTER TABLE taskflow.task_stats ADD COLUMN retried bigint NOT NULL DEFAULT 0,
                                ADD COLUMN dead_lettered bigint NOT NULL DEFAULT 0;
CREATE TABLE taskflow.task_totals (
    queue         text NOT NULL,
    type          text NOT NULL,
    first_seen    timestamptz NOT NULL DEFAULT now(),
    created       bigint NOT NULL DEFAULT 0,
    completed     bigint NOT NULL DEFAULT 0,
    failed        bigint NOT NULL DEFAULT 0,
    retried       bigint NOT NULL DEFAULT 0,
    dead_lettered bigint NOT NULL DEFAULT 0,
    rescued       bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, type)
) WITH (fillfactor = 70);
CREATE TABLE taskflow.totals_counted (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT there_is_one_row CHECK (only_row),
    minute   timestamptz NOT NULL,        -- the minutes of task_stats before this one are in the totals
    task_id  bigint NOT NULL,             -- the tasks up to this one are; see count_created
    next_id  bigint,
    next_xid bigint,
    noted_at timestamptz
);
INSERT INTO taskflow.totals_counted (minute, task_id)
VALUES (date_trunc('minute', now()), coalesce(pg_sequence_last_value('taskflow.tasks_id_seq'), 0));
"""


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    for part in (KEYS, LISTS, FIGURES, DEAD_LETTERS, EVENTS, SCHEDULES, COUNTERS):
        op.execute(part)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
