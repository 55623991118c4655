"""An application over the test's database, and an engine in SQL that stands in for a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from taskflow.settings import load
from taskflow.web import create_app
from taskflow.web.services import EXTENSION
from tests.web.answers import CheckingClient

ADMIN_KEY = "admin-key-of-the-tests"


@pytest.fixture(scope="session", autouse=True)
def _routes_are_compiled_once() -> Iterator[None]:
    """Hundreds of applications have the same routes, and compiling them is most of what making one takes. What is
    compiled depends on nothing but the rule: it gets the rule's converters when it is called."""
    compile_builder = Rule._compile_builder
    compiled: dict[tuple[str, str, bool], Any] = {}

    def remembered(self: Rule, append_unknown: bool = True) -> Any:
        key = (self.rule, repr(self.defaults), append_unknown)
        if key not in compiled:
            compiled[key] = compile_builder(self, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", remembered)
        yield


@pytest.fixture
def make_app(dsn: str) -> Iterator[Callable[..., Flask]]:
    """`make_app(**settings)`: an application over this test's database, closed at the end. Its test clients hold every
    answer to what the OpenAPI document promises."""
    made: list[Flask] = []

    def make(**settings: Any) -> Flask:
        app = create_app(load(**{"database_url": dsn, "auth": "off", **settings}))
        app.test_client_class = CheckingClient
        made.append(app)
        return app

    yield make
    for app in made:
        services = app.extensions[EXTENSION]
        services.closing.set()
        services.database.engine.dispose()


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    """One without keys, as `taskflow dev` runs it."""
    return make_app()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def admin(make_app: Callable[..., Flask]) -> FlaskClient:
    """A client with the admin key, of an application that asks for keys."""
    made = make_app(auth="on", admin_key=ADMIN_KEY).test_client()
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {ADMIN_KEY}"
    return made


class Engine:
    """Does to tasks what a worker does, through the same SQL functions."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.worker_id = 7

    def claim(self, type_: str = "echo", queue: str = "default") -> int:
        """Claim one task and return its id."""
        row = self.connection.execute(
            "SELECT id FROM taskflow.claim_tasks(%s, %s, %s, 1, array_fill('-infinity'::timestamptz, ARRAY[4]),"
            " array_fill(0::bigint, ARRAY[4]))",
            [self.worker_id, [queue], [type_]],
        ).fetchone()
        assert row is not None, "nothing to claim"
        return int(row[0])

    def finish(self, task_id: int | str, outcome: str = "succeeded", result: Any = None, **details: Any) -> None:
        """End the attempt under way of a task."""
        self.connection.execute(
            "SELECT * FROM taskflow.complete_tasks(%(worker)s, ARRAY[%(id)s::bigint],"
            " ARRAY(SELECT attempt FROM taskflow.tasks WHERE id = %(id)s), ARRAY[0::float8],"
            " ARRAY[%(result)s::jsonb], ARRAY[%(outcome)s], ARRAY[%(details)s::jsonb])",
            {
                "worker": self.worker_id,
                "id": task_id,
                "result": json.dumps(result),
                "outcome": outcome,
                "details": json.dumps(details),
            },
        )

    def run(self, outcome: str = "succeeded", result: Any = None, type_: str = "echo", **details: Any) -> int:
        """Claim a task and end its attempt."""
        task_id = self.claim(type_)
        self.finish(task_id, outcome, result, **details)
        return task_id


@pytest.fixture
def engine(connection: psycopg.Connection[Any]) -> Engine:
    return Engine(connection)
