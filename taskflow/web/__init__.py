"""The REST API: `create_app(settings)` gives the WSGI application."""

from taskflow.web.app import create_app

__all__ = ["create_app"]
