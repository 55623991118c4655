"""What alembic runs for every command: one revision a transaction, in the schema taskflow.

`taskflow migrate` gives the connection; with the command `alembic` of a developer it is made from DATABASE_URL.
"""

import os
import re

import psycopg
from alembic import context
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine

# CREATE SCHEMA IF NOT EXISTS would ask for the right to create one, also where an administrator has made it already.
SCHEMA = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'taskflow') THEN
        CREATE SCHEMA taskflow;
    END IF;
END $$"""


def number_the_revision(_context, _revision, directives):
    """Revisions are numbers that sort: taskflow/store/resources.py relies on it."""
    for directive in directives:
        head = ScriptDirectory.from_config(context.config).get_current_head() or "0"
        if not re.fullmatch("[0-9]{4}", directive.rev_id):
            directive.rev_id = f"{int(head) + 1:04}"


def run(**where):
    """Run what the command asks for, on the connection or into the output given."""
    context.configure(
        version_table_schema="taskflow",
        transaction_per_migration=False,
        process_revision_directives=number_the_revision,
        **where,
    )
    with context.begin_transaction():
        if timeout := context.config.attributes.get("lock_timeout"):
            context.execute(f"SET LOCAL lock_timeout = '{timeout}'")
            context.execute("SET LOCAL statement_timeout = 0")
        context.execute(SCHEMA)
        context.run_migrations()


if context.is_offline_mode():
    run(dialect_name="postgresql")
elif given := context.config.attributes.get("connection"):
    run(connection=given)
else:
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["DATABASE_URL"]), poolclass=NullPool
    )
    with engine.connect() as own:
        run(connection=own)
