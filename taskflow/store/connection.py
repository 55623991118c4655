"""Connections, and the one border where errors of the driver become errors of taskflow."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
import psycopg
from psycopg import conninfo
from psycopg.types.json import set_json_loads

from taskflow import errors
from taskflow.store.resources import query

# 40001: the row has moved to another partition, or a serialization failure; 40P01: a deadlock, one of two is ended.
CONFLICTS = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
# The connection is of no use any more, or the server is not one to write to: drop it and connect anew.
CONNECTION_LOST = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
# An error at connecting has no SQLSTATE in psycopg, since libpq tells none: its text is all there is. In other words
# than these, as of a server with lc_messages in another language, a refused login is a database that cannot be reached.
ATTEMPT = re.compile(r"connection to server .*? failed: (.*)")  # one for each host, with and without TLS
LOGIN_REFUSED = re.compile(
    r'FATAL:\s+(?:role ".*" (?:does not exist|is not permitted to log in)|(?:.* )?authentication failed'
    r'|database ".*" does not exist|permission denied for database|no pg_hba\.conf entry|pg_hba\.conf rejects'
    r"|no such (?:user|database))"  # PgBouncer's
    r"|fe_sendauth: no password supplied"
)
DATABASE_MISSING = re.compile(r'FATAL:\s+(?:database ".*" does not exist|no such database)')
NO_TLS = "server does not support SSL, but SSL was required"  # libpq's; it translates nothing by itself

LAST_PORT = 65535

LONGEST_TIMEOUT_MS = 2**31 - 1
"""What the server takes for a timeout: 24 days."""

# What our statements take for granted, whatever the login's own settings are: that a name is PostgreSQL's, and not that
# of something that another user has put on the search_path; and that a statement sees what was committed before it, by
# which limits count. Behind a pooler the process that answers is not the one that was connected to: what is set there
# would reach others, so nothing is.
OUR_SESSION = """
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false),
       pg_catalog.set_config('default_transaction_isolation', 'read committed', false)
WHERE pg_catalog.pg_backend_pid() = %s::integer
"""

Result = TypeVar("Result")


def connection_parameters(dsn: str, name: str) -> dict[str, Any]:
    """The parameters of a connection: what `dsn` says, and where it is silent what a long-lived client needs.

    Keepalives find a dead peer within half a minute; `target_session_attrs` skips a server that cannot be written to.
    Raises `SettingsError` where `dsn` cannot be read.
    """
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # its message repeats the string, and with it the password
        raise errors.SettingsError(
            [
                "DATABASE_URL: not a PostgreSQL connection string; it looks like postgresql://user:password@host:5432/database"
            ]
        ) from None
    ports = [port for port in str(given.get("port", "")).split(",") if port]  # one a host; no port is 5432
    if not all(port.isdecimal() and 0 < int(port) <= LAST_PORT for port in ports):
        raise errors.SettingsError([f"DATABASE_URL: the port is no number from 1 to {LAST_PORT}"])
    return {
        "connect_timeout": 10,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
        "target_session_attrs": "read-write",
        "application_name": f"taskflow {name}",
        **given,
    }


def connect(
    dsn: str, *, name: str, autocommit: bool = True, prepare_threshold: int | None = 1
) -> psycopg.Connection[tuple[Any, ...]]:
    """Open a connection. `name` is shown in pg_stat_activity behind "taskflow".

    `prepare_threshold` None: no prepared statements, as a pooler in transaction mode needs it.
    Raises `DatabaseUnavailable` where no server answers or has room, `LoginRefused` where it refuses the user,
    `DatabaseMissing` where it has no such database (if it says so in English), `SettingsError` where `dsn` cannot be
    read.
    """
    parameters = connection_parameters(dsn, name)
    with errors_translated():
        connection = psycopg.connect(autocommit=autocommit, prepare_threshold=prepare_threshold, **parameters)
    set_json_loads(orjson.loads, connection)  # of this connection alone: the program's own are its own affair
    return connection


async def connect_async(
    dsn: str, *, name: str, autocommit: bool = True, prepare_threshold: int | None = 1
) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    """`connect`, for asyncio."""
    parameters = connection_parameters(dsn, name)
    with errors_translated():
        return await psycopg.AsyncConnection.connect(
            autocommit=autocommit, prepare_threshold=prepare_threshold, **parameters
        )


def settle_session(connection: psycopg.Connection[Any]) -> bool:
    """Set up a connection in autocommit on which nobody but taskflow executes statements.

    False behind a pooler: nothing is set, and nothing should be prepared there.
    """
    return connection.execute(OUR_SESSION, [connection.info.backend_pid], prepare=False).fetchone() is not None


async def settle_session_async(connection: psycopg.AsyncConnection[Any]) -> bool:
    """`settle_session`, for asyncio."""
    cursor = await connection.execute(OUR_SESSION, [connection.info.backend_pid], prepare=False)
    return await cursor.fetchone() is not None


@contextmanager
def errors_translated() -> Iterator[None]:
    """Errors of psycopg leave this block as errors of taskflow, the original as their cause."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def translate(error: psycopg.Error) -> errors.TaskflowError:
    """The error of taskflow that says what this one means and what to do."""
    message = error.diag.message_primary or " ".join(str(error).split())
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    match error.sqlstate:
        case "TF404":
            return errors.TaskflowError(message)
        case "TF409":
            return errors.WrongState(message)
        case "TF410":
            rival = error.diag.message_detail
            return errors.UniqueConflict(message, conflicting_task_id=int(rival) if rival else None)
        case "TF503":
            return errors.QueueFull(f"{message}{hint}")
        case "42501":
            return errors.NotAllowed(
                f"{message}. Grant the login one more of the roles of taskflow: taskflow_producer creates tasks, and "
                "sees its own by task_status(); Client.get, wait and executions need taskflow_reader, the command line "
                "taskflow_operator. `taskflow grants` prints the statements that make the roles."
            )
        case "3D000":
            return _database_missing(message)
        case "28P01" | "28000":
            return _login_refused(message)
        case None if isinstance(error, psycopg.OperationalError) and _all_say(DATABASE_MISSING, error):
            return _database_missing(message)
        case None if isinstance(error, psycopg.OperationalError) and _all_say(LOGIN_REFUSED, error):
            return _login_refused(message)
        case "42P01" | "3F000" | "42883":
            return errors.SchemaMismatch(f"{message}. Run `taskflow migrate` against this database.")
        case "23514":
            constraint = error.diag.constraint_name
            rule = f"{constraint.replace('_', ' ')}" if constraint else message
            return errors.InvalidTask(f"The database refused a value: {rule}.", constraint=constraint)
        case "22P05" | "22021":
            return errors.InvalidTask("A text contains the character U+0000, which PostgreSQL cannot store: remove it.")
        case state if state and state[:2] in ("22", "23"):
            return errors.InvalidTask(f"{message}{hint}", constraint=error.diag.constraint_name)
        case "40001" | "40P01":
            return errors.TaskflowError(f"{message}. Another transaction was in the way: run the transaction again.")
        case "57014" | "55P03":
            return errors.TaskflowError(f"{message}. A timeout of the connection ended the statement.")
        case "53300":
            return errors.DatabaseUnavailable(
                f"{message}. The server has no connection to spare: raise max_connections."
            )
        case "25006":
            return errors.DatabaseUnavailable(f"{message}. The server is read-only: a standby, or being switched over.")
        case None if NO_TLS in message:
            return errors.DatabaseUnavailable(
                f"{message}. A remote host is asked for TLS: switch it on there, or, if the way to it is your own, add"
                " sslmode=disable to DATABASE_URL."
            )
        case state if isinstance(error, CONNECTION_LOST):
            return errors.DatabaseUnavailable(f"PostgreSQL cannot be reached: {message}")
    return errors.TaskflowError(f"{message}{hint}")


def _all_say(refusal: re.Pattern[str], error: psycopg.OperationalError) -> bool:
    """Whether every server that was asked has refused: one that starts up may let the user in."""
    failures = ATTEMPT.findall(str(error))
    return bool(failures) and all(map(refusal.match, failures))


def _login_refused(message: str) -> errors.LoginRefused:
    return errors.LoginRefused(f"{message}. Check the user and password of DATABASE_URL.")


def _database_missing(message: str) -> errors.DatabaseMissing:
    return errors.DatabaseMissing(f"{message}. Make it by CREATE DATABASE, or correct the name in DATABASE_URL.")


def limit_transaction(connection: psycopg.Connection[Any], seconds: float) -> None:
    """Have the server end the open transaction when it takes longer: nobody else may be able to."""
    connection.execute(query("limit_transaction"), (_milliseconds(seconds),))


async def limit_transaction_async(connection: psycopg.AsyncConnection[Any], seconds: float) -> None:
    """`limit_transaction`, for asyncio."""
    await connection.execute(query("limit_transaction"), (_milliseconds(seconds),))


def _milliseconds(seconds: float) -> int:
    return max(1, min(LONGEST_TIMEOUT_MS, round(1000 * seconds)))


def repeat_on_conflict(statement: Callable[[], Result], *, tries: int = 20) -> Result:
    """Run a statement of its own transaction, and again at once when a row of it moved or a deadlock ended it.

    The pause before a repetition is random and grows to 50 ms: two that met once should not meet again.
    """
    for attempt in range(tries):
        try:
            return statement()
        except CONFLICTS:
            if attempt == tries - 1:
                raise
            time.sleep(random.random() * min(0.05, 0.001 * 2**attempt))
    raise AssertionError("unreachable")
