"""Signatures of webhooks as the specification Standard Webhooks 1.0 has them, scheme `v1`.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def secrets_named(name: str, settings: Iterable[str]) -> tuple[bytes, ...]:
    """The secrets that `TASKFLOW_WEBHOOK_SECRETS` (`name=whsec_…`, checked already) has under `name`."""
    pairs = (entry.partition("=") for entry in settings)
    return tuple(base64.b64decode(secret.removeprefix(PREFIX)) for found, _, secret in pairs if found == name)


def delivery_id(task_id: int, url: str, content: bytes) -> str:
    """What stays the same in every attempt, and differs between systems whose tasks have the same numbers."""
    digest = hashlib.sha256(b"\0".join((str(task_id).encode(), url.encode(), content))).hexdigest()
    return f"msg_{task_id}_{digest[:16]}"


def signature_headers(id: str, timestamp: int, content: bytes, secrets: Iterable[bytes]) -> dict[str, str]:
    """The three headers; `timestamp` is in Unix seconds.

    Each secret gives a signature, so that one can follow another.
    """
    signed = f"{id}.{timestamp}.".encode() + content
    digests = (hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets)
    signatures = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return dict(zip(SIGNATURE_HEADERS, (id, str(timestamp), signatures), strict=True))
