"""What limits of queues need.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The tasks of a queue with a limit that run, found without those of others and, from a lower bound on, without what is
# dead: see claim_limited. A task of a queue without limits is never in this index, and costs nothing.
CLAIMS = """
CREATE SEQUENCE taskflow.claim_numbers;
ALTER TABLE taskflow.tasks ADD COLUMN claim_number bigint;
CREATE INDEX tasks_limited ON taskflow.tasks_live (queue, claim_number)
    WHERE worker_id IS NOT NULL AND claim_number IS NOT NULL;
ALTER TABLE taskflow.queues ADD COLUMN limited_at timestamptz NOT NULL DEFAULT now();
"""

# Claims read them: what is no limit must not get there, or nothing would be claimed any more.
TYPE_LIMITS = """
ALTER TABLE taskflow.queues ADD CONSTRAINT type_limits_are_objects_of_rate_limit_rate_period_paused CHECK (
    NOT type_limits @? '$.* ? (
        @.type() != "object"
        || @.rate_limit.type() != "null" && (@.rate_limit.type() != "number" || @.rate_limit < 1 || @.rate_limit > 1000000000)
        || @.rate_period.type() != "null" && (@.rate_period.type() != "number" || @.rate_period <= 0)
        || @.paused.type() != "null" && @.paused.type() != "boolean")');
"""


def upgrade() -> None:
    """Only additions: programs of the revision before go on."""
    op.execute(CLAIMS)
    op.execute(TYPE_LIMITS)


def downgrade() -> None:
    """Going back is done by restoring a backup."""
    raise NotImplementedError("taskflow does not downgrade: restore a backup taken before the migration")
