"""The API described for programs at /openapi.json, and for people at /docs, where it can be tried."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort, current_app, request, send_file

from taskflow.web import openapi
from taskflow.web.http.encoding import encode
from taskflow.web.http.operation import operation
from taskflow.web.models.openapi import OpenApi

PAGE = files(openapi) / "page"
# Swagger UI as its package has it: the page is complete without any other host.
SWAGGER_UI = Path(flask_swagger_ui.__file__).parent / "dist"
FILES = {
    "start.js": PAGE / "start.js",
    "swagger-ui-bundle.js": SWAGGER_UI / "swagger-ui-bundle.js",
    "swagger-ui.css": SWAGGER_UI / "swagger-ui.css",
    "favicon-32x32.png": SWAGGER_UI / "favicon-32x32.png",
}
FILES_KEPT_SECONDS = 3600
# Only our own files, and nothing from elsewhere or within the page; its icons are data: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
EXTENSION = "taskflow.openapi"

blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
@operation(None, {200: OpenApi, 304: None})
def document() -> Response:
    """The API as an OpenAPI 3.1 document"""
    made = current_app.extensions.get(EXTENSION)
    if made is None:
        made = current_app.extensions[EXTENSION] = encode(openapi.document(current_app))
    response = Response(made, mimetype="application/json", headers={"Cache-Control": "no-cache"})
    response.add_etag()
    response.make_conditional(request)
    return response


@blueprint.get("/docs")
@operation(None, {200: None}, produces="text/html")
def page() -> Response:
    """A page that shows the API and tries it, without any help from elsewhere"""
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return Response((PAGE / "index.html").read_bytes(), mimetype="text/html", headers=headers)


@blueprint.get("/docs/<file>")
@operation(None, {200: None, 304: None}, produces="*/*")
def page_file(file: str) -> Response:
    """A file of the page"""
    if file not in FILES:
        abort(404)
    return send_file(str(FILES[file]), conditional=True, max_age=FILES_KEPT_SECONDS)
