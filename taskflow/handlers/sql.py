"""`sql`: one call of an SQL function, in the transaction that completes the task: its effect comes exactly once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson
import psycopg
from psycopg.sql import Identifier
from pydantic import BaseModel, ConfigDict, Field

from taskflow import Context, DeadLetter, Retry, task
from taskflow.handlers._routine import Arguments, Routine, find
from taskflow.handlers._secrets import Secrets
from taskflow.secret_names import SecretNames
from taskflow.settings import Settings, process_settings

# Classes of SQLSTATE that say that the call itself is wrong, today and tomorrow: what is not supported, a wrong number
# of rows, data, constraints, a COMMIT in a procedure, a schema that is not there, syntax and rights, a view's check.
FINAL = frozenset({"0A", "21", "22", "23", "2D", "3F", "42", "44"})


class Sql(BaseModel):
    """Which function, and with what."""

    model_config = ConfigDict(strict=True, extra="forbid")

    function: str = Field(
        description="The function's name with its schema, as in TASKFLOW_SQL_FUNCTIONS: billing.close_month.",
        min_length=3,
        max_length=200,
    )
    args: list[Any] | dict[str, Any] = Field(
        default_factory=list,
        description="A list of its arguments, or an object with the parameters' names; cast to the parameters' types.",
    )


@task("sql")
async def sql(payload: Sql, context: Context) -> None:
    """Call the function and complete the task with what it returns, in one transaction.

    What comes is the task's result: a value, an object for a row, a list for a set. Raises `DeadLetter` for a call that
    is wrong, `Retry` where the same call may succeed later.
    """
    settings = process_settings()
    schema, name = _allowed(payload.function, settings)
    sounds_secret = SecretNames(settings.redact).sounds_secret
    secret = list(_secrets(payload.args if isinstance(payload.args, dict) else {}, sounds_secret))
    try:
        async with context.transaction_async() as connection:
            routine = await find(connection, schema, name, payload.args)
            secret += _secrets(routine.named(payload.args), sounds_secret)
            context.set_result(await _call(connection, routine, Identifier(schema, name), payload.args))
    except psycopg.Error as error:
        message = Secrets.from_values(secret).blot(_message(payload.function, error))
        if (error.sqlstate or "")[:2] in FINAL:
            raise DeadLetter(message) from None
        raise Retry(message) from None


def _allowed(function: str, settings: Settings) -> tuple[str, str]:
    """The function's schema and name, if the operator allows it. Raises `DeadLetter`."""
    if function not in settings.sql_functions:
        listed = "it is empty" if not settings.sql_functions else "it lists others"
        raise DeadLetter(
            f"{function} is not in the list of functions that tasks may call ({listed}): add it to "
            "TASKFLOW_SQL_FUNCTIONS of the workers"
        )
    schema, _, name = function.partition(".")
    return schema, name


async def _call(
    connection: psycopg.AsyncConnection[Any], routine: Routine, name: Identifier, arguments: Arguments
) -> Any:
    statement, values = routine.call(name, arguments)
    cursor = psycopg.AsyncRawCursor(connection)
    await cursor.execute(statement, values)
    if routine.is_procedure or routine.returns_nothing:
        return None
    row = await cursor.fetchone()
    # As PostgreSQL has written it: a numeric of any length stays what it is.
    return None if row is None or row[0] in (None, "null") else orjson.Fragment(row[0])


def _message(function: str, error: psycopg.Error) -> str:
    """What the database said, without DETAIL and CONTEXT, which quote rows."""
    said = error.diag.message_primary or " ".join(str(error).split())
    return f"{function}: {said}" + (f" (SQLSTATE {error.sqlstate})" if error.sqlstate else "")


def _secrets(value: Any, sounds_secret: Callable[[str], bool], *, secret: bool = False) -> Iterator[str]:
    """The texts and numbers in `value` that stand below a name which sounds like a secret."""
    match value:
        case Mapping():
            for key, item in value.items():
                yield from _secrets(item, sounds_secret, secret=secret or sounds_secret(str(key)))
        case list():
            for item in value:
                yield from _secrets(item, sounds_secret, secret=secret)
        case str() | int() | float() if secret and not isinstance(value, bool):
            yield str(value)
