"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Runs in a transaction of its own with a short lock_timeout, and again from its start if that runs out."""
    ${upgrades if upgrades else "op.execute(...)"}


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
