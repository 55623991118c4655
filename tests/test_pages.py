"""The pages of docs/ that are made from the code are those that the code makes, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ops.pages import PAGES, command_line
from taskflow.settings import Settings, load
from taskflow.web import create_app
from taskflow.web.http.problems import KINDS
from taskflow.web.openapi.endpoints import endpoints
from taskflow.web.openapi.explanations import EXPLANATIONS

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "".join(path.read_text() for path in sorted((ROOT / "taskflow").rglob("*.py")))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_makes_it(name: str) -> None:
    current = (ROOT / "docs" / name).read_text(encoding="utf-8") == PAGES[name]()
    assert current, f"docs/{name} is not current: run ops/generate-docs"


def test_every_code_of_an_error_is_explained() -> None:
    assert set(EXPLANATIONS) == set(KINDS)


def test_every_error_that_is_raised_has_a_code_of_the_list() -> None:
    raised = set(re.findall(r"\bProblem\(\s*\"(\w+)\"", PYTHON))
    assert len(raised) > 20
    assert raised <= set(KINDS)


def test_every_setting_is_explained() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_every_operation_is_in_the_reference_with_an_example() -> None:
    page = (ROOT / "docs" / "api-reference.md").read_text(encoding="utf-8")
    app = create_app(load(database_url="postgresql://localhost/taskflow"))
    for endpoint in endpoints(app):
        assert f"### {endpoint.method} {endpoint.path}\n" in page or f"`{endpoint.path}`" in page, endpoint.path
    assert page.count("```sh\n") == len({(endpoint.view, endpoint.method) for endpoint in endpoints(app)})


@pytest.mark.parametrize(
    "group", ["enqueue", "tasks", "queues", "schedules", "workers", "dlq", "stats", "top", "keys", "completion"]
)
def test_every_command_has_an_example(group: str) -> None:
    shown = command_line.examples()
    of_group = [path for path, _ in command_line.paths() if path.split()[0] == group]
    assert of_group
    assert [path for path in of_group if path not in shown] == []
