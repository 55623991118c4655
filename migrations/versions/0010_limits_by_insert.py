"""A queue that is created with a limit counts what was claimed from it before, like one that gets a limit later.

Revision ID: 0010
Revises: 0009
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing waits for longer than a moment: only the catalog is written."""
    op.execute("ALTER TABLE taskflow.queues ALTER COLUMN limited_at SET DEFAULT '9999-01-01 00:00+00'")


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
