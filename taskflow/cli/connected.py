"""The options that every command of the API has: which database or server, with which key, and JSON."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import click

from taskflow.cli import api as apis
from taskflow.cli.api import Api
from taskflow.cli.api_resources import SERVED_BY
from taskflow.cli.config_option import config_option
from taskflow.cli.failures import Refusal

Function = TypeVar("Function", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API answers it.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say how many there are.")
secrets_option = click.option(
    "--secrets", is_flag=True, help="Show values under names such as password. Over HTTP the key decides that."
)
url_option = click.option("--url", metavar="URL", help="Ask this server, and not the database. [default: TASKFLOW_URL]")
key_option = click.option("--key", metavar="KEY", help="The key for the server; - asks for it. [default: TASKFLOW_KEY]")


def connected(*nouns: str, shows_secrets: bool = False) -> Callable[[Function], Function]:
    """Give a command an `Api` as its first argument, and the options that say which. `nouns`: what it asks, by the
    names below /api/v1. An option `--secrets` of the command is understood."""

    def wrap(function: Function) -> Function:
        @url_option
        @key_option
        @config_option
        @functools.wraps(function)
        def run(*arguments: Any, url: str | None, key: str | None, **options: Any) -> Any:
            secrets = options.pop("secrets", shows_secrets)
            with opened(url, key, nouns, shows_secrets=secrets) as api:
                return function(api, *arguments, **options)

        return run  # type: ignore[return-value]

    return wrap


@contextmanager
def opened(url: str | None, key: str | None, nouns: tuple[str, ...], *, shows_secrets: bool = False) -> Iterator[Api]:
    """The API that the options and the settings mean, closed at the end."""
    from taskflow.settings import resolve, valid

    resolution = resolve({"url": url, "key": _asked(key)})
    settings = valid(resolution)
    explained: AbstractContextManager[None] = nullcontext()
    if settings.url:
        # A `taskflow dev` of this directory asks for none, and the key of another server is none of its business.
        is_dev = resolution.found["url"].source == "dev"
        api = apis.over_http(settings.url, "" if is_dev else settings.key)
    else:
        from taskflow.cli.terminal import database_url, schema_explained

        database = database_url()
        explained = schema_explained(database)
        resources = tuple(dict.fromkeys(module for noun in nouns for module in SERVED_BY[noun]))
        with _without_collecting():
            api = apis.over_database(database, resources, shows_secrets=shows_secrets)
    try:
        with explained:
            yield api
    finally:
        api.close()


@contextmanager
def _without_collecting() -> Iterator[None]:
    """What is imported meanwhile stays: to look through it again and again takes a tenth of a start."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _asked(key: str | None) -> str | None:
    if key != "-":
        return key
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    read = sys.stdin.readline().strip()
    if not read:
        raise Refusal("invalid_input", "--key - reads the key from standard input, and nothing came")
    return read
