"""The OpenAPI document: `document(app)`. It is made from the same declarations that check the requests."""

from taskflow.web.openapi.document import document

__all__ = ["document"]
