"""What holds back producers by SQL where a queue has a small `max_depth`.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The queues that refuse an INSERT when they are full: those whose tasks are counted in a few milliseconds.
# Every INSERT of tasks looks whether there are any, by the size of this index.
INDEX = "CREATE INDEX queues_max_depth ON taskflow.queues (name) WHERE max_depth <= 10000"


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    op.execute(INDEX)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
