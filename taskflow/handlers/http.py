"""`http`: the type `webhook` by its other name, for requests that tell nobody of anything."""

from __future__ import annotations

from taskflow import task
from taskflow.handlers.webhook import webhook

http = task("http")(webhook.function)
