"""`webhook`: one HTTP request to somebody else's server, retried by what the answer says."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx

from taskflow import Context, DeadLetter, Retry, task
from taskflow.handlers._http import Answer, Request, exchange, mended_by_no_retry
from taskflow.handlers._network_rule import NetworkRule
from taskflow.handlers._reach import AddressRefused
from taskflow.handlers._retry_after import retry_after_seconds
from taskflow.handlers._secrets import Secrets
from taskflow.handlers._signature import delivery_id, secrets_named, signature_headers
from taskflow.handlers._webhook_payload import Webhook
from taskflow.settings import process_settings

EXCERPT_CHARACTERS = 500


class WebhookFailed(Exception):
    """The receiver could not be reached, or answered with an error that may pass; retried by the task's policy."""


@task("webhook")
async def webhook(payload: Webhook, context: Context) -> dict[str, Any]:
    """Send the request; return ``{"status", "headers", "body", "truncated", "duration_ms"}``.

    The receiver gets the task's id and the attempt's number as `X-Taskflow-Task-Id` and `X-Taskflow-Attempt`. The id is
    the same in every attempt, so that it recognises a delivery which it had taken, but whose answer was lost.

    Raises `DeadLetter` for a 4xx that no retry mends and for an address that may not be reached, `Retry` where the
    answer says when to come back, `WebhookFailed` for all else that `expected_status` does not have. What is secret in
    the request is blotted out of results and errors, also where the receiver quotes it.
    """
    started = time.perf_counter()
    allowed, proxy = NetworkRule.of(process_settings().webhook_allow), process_settings().webhook_proxy
    secrets = Secrets.of(payload.url, payload.headers, proxy)
    what = f"{payload.method} {_origin(payload.url)}"
    try:
        async with asyncio.timeout(payload.timeout):
            answer = await exchange(_request(payload, context), allowed, proxy, payload.expects)
    except TimeoutError:
        raise WebhookFailed(f"{what} had no full answer within {payload.timeout:g} seconds") from None
    except AddressRefused as error:
        raise DeadLetter(f"{what} was not sent: {error}") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Not "from error": what stands in the chain may quote the request.
        raise WebhookFailed(secrets.blot(f"{what} failed: {error or type(error).__name__}")) from None
    answer = answer.blotted(secrets)
    if not payload.expects(answer.status):
        raise _failure(what, answer)
    return {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "truncated": answer.truncated,
        "duration_ms": round((time.perf_counter() - started) * 1000),
    }


def _request(payload: Webhook, context: Context) -> Request:
    return Request(
        method=payload.method,
        url=httpx.URL(payload.url),
        private_headers={**payload.headers, **_signature(payload, context)},
        public_headers={"X-Taskflow-Task-Id": str(context.task_id), "X-Taskflow-Attempt": str(context.attempt)},
        content=payload.content,
    )


def _signature(payload: Webhook, context: Context) -> dict[str, str]:
    """The headers of the signature, none where none is asked for."""
    if payload.sign_with is None:
        return {}
    secrets = secrets_named(payload.sign_with, process_settings().webhook_secrets)
    if not secrets:
        raise DeadLetter(
            f"there is no secret {payload.sign_with!r} to sign with: this worker's setting TASKFLOW_WEBHOOK_SECRETS "
            "has them, as name=whsec_…"
        )
    _, content = payload.content or ("", b"")
    return signature_headers(delivery_id(context.task_id, payload.url, content), int(time.time()), content, secrets)


def _origin(url: str) -> str:
    """The URL without user, path and query: any of these can be the secret, and the payload has them all."""
    return str(httpx.URL(url).copy_with(userinfo=b"", raw_path=b"", fragment=None))


def _failure(what: str, answer: Answer) -> Exception:
    """What an answer that is no success means for the attempt."""
    message = f"{what} answered {answer.status} {httpx.codes.get_reason_phrase(answer.status)}".rstrip()
    if excerpt := answer.body[:EXCERPT_CHARACTERS].strip():
        message += f": {excerpt}"
    if mended_by_no_retry(answer.status):
        return DeadLetter(message)
    if answer.status < 400:
        return WebhookFailed(f"{message} (not in expected_status)")
    after = retry_after_seconds(answer.headers.get("retry-after", ""), now=datetime.now(UTC))
    return WebhookFailed(message) if after is None else Retry(message, after=after)
