"""A claim changes no indexed column, so that the new version of a row stays on its page and enters no index.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Which tasks a worker has claimed, a row a claim, instead of an index by worker. A task that is here may have ended since:
# the worker's next heartbeat removes the rows of which nothing runs any more.
# 500 ids stay in the row, and as they are: to compress them or to write them elsewhere costs more.
CLAIMS = """
CREATE TABLE taskflow.claims (
    worker_id bigint NOT NULL,
    id        bigint GENERATED ALWAYS AS IDENTITY,
    task_ids  bigint[] NOT NULL,
    PRIMARY KEY (worker_id, id)
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,
        toast.autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_cost_delay = 0);
ALTER TABLE taskflow.claims ALTER COLUMN task_ids SET STORAGE EXTERNAL;
"""

# `running` or `blocked` while a task with a concurrency key is that, else NULL: for a task without a key it never changes.
KEY_STATE = "ALTER TABLE taskflow.tasks ADD COLUMN key_state taskflow.task_state"

# No index may depend on `state` or `worker_id`, not even by its WHERE: then PostgreSQL could not update a row in place
# (HOT). The index of claims has what runs as well, and a claim passes over it; it still has nothing that is blocked. The
# larger half of each page is for the new versions, which have two values more. To claim
# what stands on a page that was filled before costs more than it did, until that has drained.
INDEXES = """
DROP INDEX taskflow.tasks_claim, taskflow.tasks_worker, taskflow.tasks_held_back, taskflow.tasks_limited,
    taskflow.tasks_key_waiting, taskflow.tasks_key_running, taskflow.tasks_key_blocked;
ALTER TABLE taskflow.tasks_live SET (fillfactor = 45);

UPDATE taskflow.tasks_live SET key_state = state WHERE concurrency_key IS NOT NULL AND state IN ('running', 'blocked');
INSERT INTO taskflow.claims (worker_id, task_ids)
SELECT worker_id, array_agg(id ORDER BY id) FROM taskflow.tasks_live WHERE state = 'running' GROUP BY worker_id;

CREATE INDEX tasks_claim ON taskflow.tasks_live (queue, priority, run_at, id, type)
    WHERE key_state IS DISTINCT FROM 'blocked';
CREATE INDEX tasks_failed_before ON taskflow.tasks_live (queue, priority, run_at) WHERE failures > 0;
CREATE INDEX tasks_cancel_requested ON taskflow.tasks_live (id) WHERE cancel_requested;
CREATE INDEX tasks_limited ON taskflow.tasks_live (queue, claim_number) WHERE claim_number IS NOT NULL;
CREATE INDEX tasks_key_waiting ON taskflow.tasks_live (queue, concurrency_key, type, priority, run_at, id)
    WHERE concurrency_key IS NOT NULL AND key_state IS DISTINCT FROM 'running';
CREATE INDEX tasks_key_running ON taskflow.tasks_live (queue, concurrency_key) WHERE key_state = 'running';
CREATE INDEX tasks_key_blocked ON taskflow.tasks_live (queue, concurrency_key) WHERE key_state = 'blocked';
"""

# What a schedule has created and has not ended, instead of what it created last.
SCHEDULES = """
CREATE INDEX tasks_schedule ON taskflow.tasks_live (schedule_id) WHERE schedule_id IS NOT NULL;
DROP INDEX taskflow.schedule_runs_task;
"""


def upgrade() -> None:
    """Workers wait while the indexes are made: a second or two for a million waiting tasks.

    Programs of the revision before go on, with the functions that follow in a moment. What they claim until then is
    recorded at the end of the run (record_claims), and again when a leader begins.
    """
    op.execute("LOCK TABLE taskflow.tasks IN ACCESS EXCLUSIVE MODE")
    op.execute(CLAIMS)
    op.execute(KEY_STATE)
    op.execute(INDEXES)
    op.execute(SCHEDULES)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
