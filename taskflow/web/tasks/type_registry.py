"""What the registered types demand of a payload, as workers wrote it to `taskflow.task_types` at their start."""

from __future__ import annotations

import logging
import re
import threading
import time
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from referencing import Registry
from referencing.exceptions import Unresolvable
from sqlalchemy import select

from taskflow.errors import FieldProblem
from taskflow.schema import task_types
from taskflow.tasks.pointers import pointer
from taskflow.web.access.redaction import Redaction
from taskflow.web.database import Database
from taskflow.web.http.bodies import MAX_PROBLEMS, shorten
from taskflow.web.http.encoding import encode
from taskflow.web.http.problems import Problem

MAX_AGE_SECONDS = 2.0
# Keywords of which the message quotes values in its midst, None being the schema `false`; and those of which it quotes
# names and the schema alone.
WITHOUT_VALUES = {
    None: "holds a value that must not be there",
    "items": "has more items than are allowed",
    "unevaluatedItems": "has more items than are allowed",
}
OF_NAMES = frozenset(
    {
        "additionalProperties", "const", "contains", "dependentRequired", "maxContains", "minContains", "required",
        "unevaluatedProperties",
    }
)  # fmt: skip
OF_ITS_NAMES = frozenset({"additionalProperties", "unevaluatedProperties"})  # those that quote names of the payload
SELECT_TYPES = select(task_types.c.type, task_types.c.schema)

log = logging.getLogger("taskflow.web")


class TypeRegistry:
    """The schemas of all types, read again when they are older than two seconds: a new type needs no restart."""

    def __init__(self, database: Database, redaction: Redaction | None = None, *, reject_unknown: bool) -> None:
        self._database = database
        self._redaction = redaction or Redaction(())
        self._reject_unknown = reject_unknown
        self._validators: dict[str, Validator | None] = {}
        self._compiled: dict[bytes, Validator | None] = {}
        self._read_at = float("-inf")
        self._loading = threading.Lock()

    def check(self, type_: str, payload: dict[str, Any]) -> None:
        """Raises `Problem` 422 where the payload does not fit its type, with a pointer for each misfit."""
        self._refresh()
        validators = self._validators  # another thread may put newer ones in its place
        if type_ not in validators:
            if self._reject_unknown:
                problem = FieldProblem("/type", "unknown_type", "no worker has registered this type")
                raise Problem("unknown_type", f"No worker has registered the type {type_!r}.", problems=[problem])
            return
        validator = validators[type_]
        if validator is None:
            return
        problems = _misfits(type_, validator, payload, self._redaction)
        if problems:
            first = problems[0]
            raise Problem("invalid_payload", f"{first.pointer}: {first.detail}", problems=problems)

    def _refresh(self) -> None:
        """One thread reads; the others go on with what is there, unless there is nothing yet."""
        if time.monotonic() - self._read_at < MAX_AGE_SECONDS:
            return
        if not self._loading.acquire(blocking=self._read_at == float("-inf")):
            return
        try:
            if time.monotonic() - self._read_at >= MAX_AGE_SECONDS:
                rows = self._database.fetch(SELECT_TYPES)
                self._validators = {type_: self._compile(type_, schema) for type_, schema in map(tuple, rows)}
                self._read_at = time.monotonic()
        finally:
            self._loading.release()

    def _compile(self, type_: str, schema: Any) -> Validator | None:
        if not isinstance(schema, dict | bool):
            return None
        key = encode(schema)
        if key not in self._compiled:
            if len(self._compiled) > 10_000:
                self._compiled.clear()
            self._compiled[key] = _validator(type_, schema)
        return self._compiled[key]


def _misfits(type_: str, validator: Validator, payload: dict[str, Any], redaction: Redaction) -> list[FieldProblem]:
    try:
        return [_misfit(error, redaction) for error in islice(validator.iter_errors(payload), MAX_PROBLEMS)]
    except (Unresolvable, RecursionError, re.error) as error:
        # The worker's own model has the last word; a schema that cannot be followed must not keep its tasks out.
        log.warning("type_schema_ignored", extra={"type": type_, "error": shorten(str(error))})
        return []


def _misfit(error: ValidationError, redaction: Redaction) -> FieldProblem:
    path, detail = list(error.absolute_path), _detail(error)
    if (at := redaction.secret_at(path)) is not None:
        if len(path) > at + 1 or error.validator in OF_ITS_NAMES:
            detail = "does not fit the type's schema"  # the names inside of a secret are hidden with it
        del path[at + 1 :]
    return FieldProblem("/payload" + pointer(path), str(error.validator or "false"), detail)


def _detail(error: ValidationError) -> str:
    """What is wrong, without the value: it may be a secret that a schedule has stored. The pointer says where it is."""
    if (detail := WITHOUT_VALUES.get(error.validator)) is not None:  # type: ignore[arg-type]
        return detail
    value = repr(error.instance)
    if error.message.startswith(f"{value} "):
        return shorten(error.message[len(value) + 1 :])
    if error.validator in OF_NAMES:
        return shorten(error.message)
    return f"does not fit {error.validator!r} of the type's schema"


def _validator(type_: str, schema: Any) -> Validator | None:
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        log.warning("type_schema_ignored", extra={"type": type_, "error": shorten(error.message)})
        return None
    # An empty registry: a $ref to elsewhere is an error, never a request that this server sends.
    validator: Validator = Draft202012Validator(schema, registry=Registry())
    return validator
