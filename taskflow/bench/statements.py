"""Counting the statements that workers send to a database, without asking in that database."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from psycopg import conninfo, sql

from taskflow.bench.server import Server


@contextlib.contextmanager
def counted_statements(server: Server, dsn: str) -> Iterator[Callable[[], int]]:
    """A function that tells how many statements sessions opened from now on have sent to the database of `dsn`.

    On a private server they are counted one by one in its log; elsewhere transactions are, which the server tells up to
    a second late and which may hold more than one statement.
    """
    database = str(conninfo.conninfo_to_dict(dsn)["dbname"])
    if server.log is None:
        yield lambda: _transactions(server, database)
        return
    with server.administer() as connection:
        name = sql.Identifier(database)
        connection.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(name))
    log = server.log
    start = log.stat().st_size

    def count() -> int:
        with log.open("rb") as lines:
            lines.seek(start)
            return sum(b" LOG:  execute " in line or b" LOG:  statement: " in line for line in lines)

    yield count


def _transactions(server: Server, database: str) -> int:
    with server.administer() as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s", (database,)
        ).fetchone()
    return int(row[0]) if row else 0
