"""A full queue is counted by every INSERT where its `max_depth` is small, and no reading is kept.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# For a time 0005 made another index, of all queues with a max_depth of their own, and a table of how many tasks a producer
# had found waiting. What did not make them has what is made here: the queues that refuse an INSERT when they are full,
# those whose tasks are counted in a few milliseconds. Every INSERT of tasks looks whether there are any, by the size of
# this index. Until the trigger's function is replaced, a moment later, it calls one that reads that table, and must not.
COUNTED = """
DO $$
BEGIN
    IF to_regclass('taskflow.depth_readings') IS NOT NULL THEN
        DROP INDEX taskflow.queues_max_depth;
        CREATE INDEX queues_max_depth ON taskflow.queues (name) WHERE max_depth <= 10000;
        IF to_regprocedure('taskflow.refuse_full(text, integer)') IS NOT NULL THEN
            CREATE OR REPLACE FUNCTION taskflow.refuse_full(p_queue text, p_tasks integer) RETURNS void LANGUAGE sql AS '';
        END IF;
        DROP TABLE taskflow.depth_readings;
    END IF;
END $$
"""


def upgrade() -> None:
    """What keeps readings is gone; the function that kept them, with its two parameters, stays and does nothing."""
    op.execute(COUNTED)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
