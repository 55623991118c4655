"""What runs of a queue with max_workers is found by claims, so that such a claim changes no indexed column either.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# A claim from a queue with max_workers says from which; others do not. `claim_number` and its sequence stay for programs
# of the revision before, until their functions are replaced in a moment; nothing reads them any more.
QUEUES = """
ALTER TABLE taskflow.claims ADD COLUMN queue text;
CREATE INDEX claims_limited ON taskflow.claims (queue, id) WHERE queue IS NOT NULL;
DROP INDEX taskflow.tasks_limited;
"""

# Workers remember a claim number from which on to count: claims go on beyond the last of those.
NUMBERS = """
SELECT setval('taskflow.claims_id_seq', greatest(n.last_value, c.last_value) + 1)
FROM taskflow.claim_numbers n, taskflow.claims_id_seq c;
INSERT INTO taskflow.claims (worker_id, queue, task_ids)
SELECT worker_id, queue, array_agg(id ORDER BY id) FROM taskflow.tasks_live
WHERE state = 'running' AND claim_number IS NOT NULL GROUP BY worker_id, queue;
"""


def upgrade() -> None:
    """Inserts, claims and completions wait for a moment.

    What programs of the revision before claim until the functions follow is recorded at the end of the run
    (record_claims), and again when a leader begins; until then it is not counted."""
    op.execute("LOCK TABLE taskflow.tasks_live IN ACCESS EXCLUSIVE MODE")
    op.execute("LOCK TABLE taskflow.claims IN ACCESS EXCLUSIVE MODE")
    op.execute(QUEUES)
    op.execute(NUMBERS)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
