"""What holds back producers by SQL where a queue has a `max_depth` of its own.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The queues with another max_depth than the default. Every INSERT of tasks looks whether there are any, by its size.
INDEX = "CREATE INDEX queues_max_depth ON taskflow.queues (name) WHERE max_depth <> 1000000"

# How many tasks waited in each of them when a producer last counted.
READINGS = """
CREATE TABLE taskflow.depth_readings (
    queue   text PRIMARY KEY,
    depth   integer NOT NULL,
    read_at timestamptz NOT NULL
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    op.execute(INDEX)
    op.execute(READINGS)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
