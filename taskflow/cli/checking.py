"""Tasks in the form of the REST API, checked as the API would check them, for COPY."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from taskflow.cli.failures import Refusal
from taskflow.errors import InvalidTask
from taskflow.settings import load
from taskflow.tasks.new_task import NewTask
from taskflow.tasks.retry import RetryPolicy
from taskflow.web.database import Database
from taskflow.web.http.bodies import inspect
from taskflow.web.http.problems import Problem
from taskflow.web.models.tasks import TaskBody
from taskflow.web.queues.queue_registry import QueueRegistry
from taskflow.web.tasks.type_registry import TypeRegistry


class Checker:
    """Makes tasks to store out of what the API takes; the queues that they name exist then."""

    def __init__(self) -> None:
        settings = load(web_connections=1)
        self._database = database = Database(settings)
        self._most_bytes = settings.max_payload_bytes
        self._types = TypeRegistry(database, reject_unknown=settings.reject_unknown_types)
        self._queues = QueueRegistry(database)

    def close(self) -> None:
        """Close its connection."""
        self._database.engine.dispose()

    def new_task(self, number: int, given: dict[str, Any]) -> NewTask:
        """The task of line `number`. Raises `Refusal`."""
        try:
            inspect(given)
            body = TaskBody.model_validate(given)
            self._types.check(body.type, body.payload)
            task = NewTask(body.type, body.payload, **_options(body))
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            reasons = [
                f"line {number}, {'.'.join(map(str, item['loc'])) or 'the task'}: {item['msg']}" for item in found
            ]
            raise Refusal("invalid_request", reasons) from error
        except Problem as problem:
            raise Refusal(problem.code, f"line {number}: {problem.detail}") from problem
        except InvalidTask as error:
            raise Refusal("invalid_task", f"line {number}: {error}") from error
        if task.payload_bytes > self._most_bytes:
            size = f"{task.payload_bytes:,} bytes as JSON; at most {self._most_bytes:,} are allowed"
            raise Refusal("invalid_request", f"line {number}: the payload has {size}")
        self._queues.ensure(body.queue)
        return task


def _options(body: TaskBody) -> dict[str, Any]:
    options = body.options()
    strategy, delay, longest = (
        options.pop(name, None) for name in ("retry_strategy", "retry_delay", "max_retry_delay")
    )
    if strategy or delay is not None or longest is not None:
        options["retry"] = RetryPolicy(strategy or "exponential", delay, longest)
    options |= {"queue": body.queue, "priority": body.priority, "run_at": body.run_at, "unique_key": body.unique_key}
    return {name: value for name, value in options.items() if value is not None}
