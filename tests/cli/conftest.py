"""The command line in this process, against a database of the file's own, and an engine that stands in for a worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from werkzeug.routing import Rule

from taskflow.cli.main import main
from tests.web.conftest import Engine


@pytest.fixture(scope="session", autouse=True)
def _routes_are_compiled_once() -> Iterator[None]:
    """As for the tests of the API: a command makes an application, and compiling routes is most of that."""
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


class CommandLine:
    """`taskflow …` with a DATABASE_URL: the output of what has to work, and the result of what may not."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def result(self, *arguments: str, stdin: str | bytes | None = None, **environment: str) -> Result:
        """What came of it."""
        variables = {"DATABASE_URL": self.dsn, **environment}
        return CliRunner().invoke(main, arguments, input=stdin, env=variables, prog_name="taskflow")

    def __call__(self, *arguments: str, stdin: str | bytes | None = None) -> str:
        """What it printed on stdout; its exit code was 0."""
        result = self.result(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str) -> Any:
        """The one JSON value that it printed."""
        return json.loads(self(*arguments, "--json"))

    def refused(self, *arguments: str) -> tuple[int, str]:
        """Its exit code and its error's code; nothing was printed on stdout."""
        result = self.result(*arguments)
        assert result.stdout == ""
        return result.exit_code, result.stderr.partition("]")[0].removeprefix("error[")


@pytest.fixture
def taskflow(shared_dsn: str) -> CommandLine:
    return CommandLine(shared_dsn)


@pytest.fixture
def engine(shared_dsn: str) -> Iterator[Engine]:
    """In the database of the file."""
    with psycopg.connect(shared_dsn, autocommit=True) as connection:
        yield Engine(connection)


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`on_a_terminal("y")`: stdin is one, and somebody there answers so."""

    def answering(answer: str) -> None:
        monkeypatch.setattr("taskflow.cli.output.can_be_asked", lambda: True)
        monkeypatch.setattr("taskflow.cli.output.click.confirm", lambda *_, **__: answer == "y")

    return answering
