"""Every operation is tried with what its document allows and with what it forbids (schemathesis), over a database where
the ids in the addresses exist.

Nothing may end as 5xx, and each answer must be one that the document has: its status, its headers, its type and its
schema. What the document forbids must be refused.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import allow_header_conformance, ignored_auth, positive_data_acceptance

from taskflow.settings import load
from taskflow.web import create_app
from taskflow.web.openapi import document
from taskflow.web.openapi.endpoints import endpoints
from tests.web.conftest import ADMIN_KEY, Engine

EXAMPLES = 10
AUTHORIZATION = {"Authorization": f"Bearer {ADMIN_KEY}"}
# Requests that last: each has tests of its own, that read what comes bit by bit.
STREAMS = r"^/ws$|/events$"
# A schema says which values a field takes; which go together, and what may be done in which state, is said in words.
# That nobody is served without a key is tested elsewhere, for every operation. And `Allow` at /tasks/bulk has the
# methods of /tasks/{id} too, since both are that address.
LEFT_OUT = [positive_data_acceptance, ignored_auth, allow_header_conformance]

APP = create_app(load(database_url="postgresql://nobody@127.0.0.1:1/none"))
documented = schemathesis.openapi.from_dict(
    document(APP),
    config=SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "base-url": "http://localhost",
            "headers": AUTHORIZATION,
            "generation": {
                "deterministic": True,
                "max-examples": EXAMPLES,
                "database": "none",
                "with-security-parameters": False,
            },
        }
    ),
)


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")


@dataclass
class World:
    """An application, and what exists in its database: the name of an argument of a path → values."""

    app: Flask
    existing: dict[str, list[str]] = field(default_factory=dict)

    def aim(self, case: schemathesis.Case) -> None:
        """Let four of five addresses be of something that exists."""
        for name, value in case.path_parameters.items():
            choices = self.existing.get(name, [])
            chosen = zlib.crc32(str(value).encode("utf-8", "replace")) % (len(choices) * 5 // 4 + 1)
            if chosen < len(choices):
                case.path_parameters[name] = choices[chosen]
        if "wait" in case.query:
            case.path_parameters["task_id"] = self.existing["ended"][0]  # nobody waits for that one


@pytest.fixture
def world(make_app: Callable[..., Flask], connection: psycopg.Connection[Any], engine: Engine) -> World:
    app = make_app(auth="on", admin_key=ADMIN_KEY, rate_limit=0)
    client = app.test_client()

    def create(resource: str, **body: Any) -> str:
        response = client.post(f"/api/v1/{resource}", json=body, headers=AUTHORIZATION)
        assert response.status_code == 201, response.text
        return str(response.json.get("id", response.json.get("name")))

    def ended(outcome: str) -> str:
        task_id = create("tasks", type="echo", payload={"to": "ada"}, max_retries=0)
        engine.run(outcome)
        return task_id

    row = connection.execute("SELECT taskflow.register_worker('host', 1, NULL, '{echo}', 10, 'test')").fetchone()
    assert row is not None
    done, dead = ended("succeeded"), ended("failed")
    running = create("tasks", type="echo")
    engine.claim()
    tasks = [done, dead, running, create("tasks", type="echo"), create("tasks", type="mail", delay=3600)]
    schedule = create("schedules", name="nightly", type="echo", cron="@daily")
    existing = {
        "task_id": tasks,
        "ended": [done],
        "schedule_id": [schedule, "nightly"],
        "worker_id": [str(row[0])],
        "name": [create("queues", name="mail"), "default"],
        "key_id": [create("keys", name="shop", scopes=["read"])],
        "priority": ["low", "normal", "high", "critical"],
    }
    return World(app, existing)


def seen_elsewhere() -> list[str]:
    """The names of operations that are a view which is tried at another address."""
    first: dict[tuple[Any, str], str] = {}
    found = endpoints(APP)
    for endpoint in found:
        first.setdefault((endpoint.view, endpoint.method), endpoint.name)
    return [endpoint.name for endpoint in found if endpoint.name not in first.values()]


@documented.exclude(path_regex=STREAMS).exclude(operation_id=seen_elsewhere()).parametrize()
@settings(deadline=None, suppress_health_check=list(HealthCheck))
def test_an_operation_answers_as_documented_whatever_it_is_sent(case: schemathesis.Case, world: World) -> None:
    world.aim(case)
    case.call_and_validate(app=world.app, excluded_checks=LEFT_OUT)
