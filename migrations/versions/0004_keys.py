"""What limits of concurrency keys need.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Which tasks of a key wait, of each type in the order in which they start, and which run. A task without a key is in
# neither, and costs nothing.
INDEXES = """
CREATE INDEX tasks_key_waiting ON taskflow.tasks_live (queue, concurrency_key, type, priority, run_at, id)
    WHERE concurrency_key IS NOT NULL AND worker_id IS NULL;
CREATE INDEX tasks_key_running ON taskflow.tasks_live (queue, concurrency_key)
    WHERE concurrency_key IS NOT NULL AND worker_id IS NOT NULL;
"""


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    op.execute(INDEXES)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
