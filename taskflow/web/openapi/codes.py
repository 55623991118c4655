"""Which errors an operation may answer: those that it declares, and those that follow from what it is."""

from __future__ import annotations

from taskflow.web.openapi.endpoints import Endpoint

ALWAYS = ("bad_request", "invalid_request", "rate_limited", "internal_error", "database_unavailable", "schema_mismatch")
WITH_A_SCOPE = ("unauthorized", "forbidden", "host_not_allowed")
WITH_A_PATH = ("not_found",)
WITH_A_BODY = (
    "request_timeout",
    "invalid_json",
    "duplicate_key",
    "too_deeply_nested",
    "unsupported_media_type",
    "body_too_large",
)
WITH_AN_IDEMPOTENCY_KEY = ("invalid_idempotency_key", "request_in_progress", "idempotency_key_reused")
# Said before the request has reached an operation, so that no operation lists them.
BEFORE_ALL = ("method_not_allowed", "uri_too_long", "headers_too_large", "expectation_failed", "not_implemented")


def codes_of(endpoint: Endpoint) -> frozenset[str]:
    """The codes of problems that `endpoint` may answer."""
    operation = endpoint.operation
    found = {*ALWAYS, *operation.errors}
    if operation.scope is not None:
        found.update(WITH_A_SCOPE)
    if endpoint.arguments:
        found.update(WITH_A_PATH)
    if endpoint.method not in ("GET", "HEAD"):
        found.update(WITH_A_BODY)
    if operation.idempotent:
        found.update(WITH_AN_IDEMPOTENCY_KEY)
    return frozenset(found)
