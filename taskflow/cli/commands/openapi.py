"""`taskflow openapi`: the API as a document, without a server."""

from __future__ import annotations

import json

import click


@click.command("openapi")
def command() -> None:
    """Print the OpenAPI 3.1 document of the REST API, as a server gives it at /openapi.json."""
    from taskflow.settings import load
    from taskflow.web import create_app
    from taskflow.web.openapi import document

    click.echo(json.dumps(document(create_app(load())), indent=2, ensure_ascii=False))
