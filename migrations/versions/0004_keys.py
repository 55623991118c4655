"""What limits of concurrency keys need, what queues may keep, and keys that stay unique for a time.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Which tasks of a key wait, of each type in the order in which they start, which run, and which keys hold somebody up. A
# task without a key is in none of them, and costs nothing.
INDEXES = """
CREATE INDEX tasks_key_waiting ON taskflow.tasks_live (queue, concurrency_key, type, priority, run_at, id)
    WHERE concurrency_key IS NOT NULL AND worker_id IS NULL;
CREATE INDEX tasks_key_running ON taskflow.tasks_live (queue, concurrency_key)
    WHERE concurrency_key IS NOT NULL AND worker_id IS NOT NULL;
CREATE INDEX tasks_key_blocked ON taskflow.tasks_live (queue, concurrency_key)
    WHERE concurrency_key IS NOT NULL AND state = 'blocked';
"""

# The leader removes by it: what is no time must not get there.
RETENTION = """
ALTER TABLE taskflow.queues ADD CONSTRAINT retention_is_positive_seconds_by_state CHECK (
    retention - ARRAY['completed', 'failed', 'cancelled', 'dead_letter'] = '{}'
    AND NOT retention @? '$.* ? (@.type() != "number" || @ <= 0)');
"""

# What `unique_for` needs: which task has had a key lately, whether it still lives or not.
WINDOWS = """
CREATE TABLE taskflow.unique_windows (
    type       taskflow.task_type NOT NULL,
    unique_key taskflow.short_key NOT NULL,
    task_id    bigint NOT NULL,
    until      timestamptz NOT NULL,
    PRIMARY KEY (type, unique_key)
) WITH (fillfactor = 70);
CREATE INDEX unique_windows_until ON taskflow.unique_windows (until);
"""


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    op.execute(INDEXES)
    op.execute(RETENTION)
    op.execute(WINDOWS)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
