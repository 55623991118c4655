"""`python -m taskflow.bench.bare_api`: what the API is measured against, a view that does nothing but one INSERT.

It is served by the same gunicorn with the same settings and the same number of connections.
"""

from __future__ import annotations

from types import SimpleNamespace

from flask import Flask, Response, request
from psycopg_pool import ConnectionPool

from taskflow import telemetry
from taskflow.settings import Settings, load
from taskflow.stop_flag import StopFlag
from taskflow.web.services import EXTENSION
from taskflow.web.serving.server import Server, listen

INSERT = "INSERT INTO taskflow.tasks (type, payload) VALUES (%s, %s) RETURNING id"


class BareServer(Server):
    """The product's gunicorn with another application."""

    def load(self) -> Flask:
        """Called by gunicorn in every process that serves."""
        return create_app(self.settings)


def create_app(settings: Settings) -> Flask:
    """The one view there is, and the least that the server's own code asks of an application."""
    app = Flask("taskflow.bench.bare_api", static_folder=None)
    app.extensions[EXTENSION] = SimpleNamespace(closing=StopFlag())
    pool = ConnectionPool(
        settings.database_url,
        min_size=settings.web_connections,
        max_size=settings.web_connections,
        kwargs={"autocommit": True, "prepare_threshold": 0},
    )

    @app.post("/api/v1/tasks")
    def create() -> tuple[dict[str, str], int]:
        body = request.get_json()
        with pool.connection() as connection:
            row = connection.execute(INSERT, (body["type"], '{"n": 1}')).fetchone()
        return {"id": str(row[0] if row else "")}, 201

    @app.get("/live")
    def live() -> Response:
        return Response("alive")

    return app


def main() -> None:
    """Serve until SIGTERM."""
    settings = load()
    telemetry.configure(settings)
    BareServer(settings, listen(settings.host, settings.port)).run()


if __name__ == "__main__":
    main()
