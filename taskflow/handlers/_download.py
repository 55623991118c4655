"""Something behind a URL, in whole or not at all, by the same exchange as webhooks and with their rule of addresses."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import NamedTuple

import httpx

from taskflow import DeadLetter, Retry
from taskflow.handlers._http import Request, exchange_as, mended_by_no_retry
from taskflow.handlers._network_rule import NetworkRule
from taskflow.handlers._reach import AddressRefused
from taskflow.handlers._retry_after import retry_after_seconds
from taskflow.handlers._secrets import Secrets
from taskflow.settings import process_settings


class DownloadFailed(Exception):
    """It could not be had now; retried by the task's policy."""


class TooLarge(DeadLetter):
    """It has more bytes than allowed."""


class _Download(NamedTuple):
    status: int
    retry_after: str
    content: bytes


def download(url: str, *, limit_bytes: int, timeout_seconds: float) -> bytes:
    """The content.

    Raises `DeadLetter` for a URL or an answer that no retry mends, `Retry` where the server says when to come back,
    `DownloadFailed` for the rest. Errors name the server, not path, query or user: these may be secrets.
    """
    try:
        parsed = httpx.URL(url)
        parsed.host.encode("idna")
    except (httpx.InvalidURL, UnicodeError):
        raise DeadLetter("the URL is not valid") from None
    what = str(parsed.copy_with(userinfo=b"", raw_path=b"", fragment=None))
    try:
        answer = asyncio.run(_get(parsed, limit_bytes, timeout_seconds))
    except TimeoutError:
        raise DownloadFailed(f"{what} did not send all of it within {timeout_seconds:g} seconds") from None
    except AddressRefused as error:
        raise DeadLetter(f"{what} was not asked: {error}") from None
    except httpx.InvalidURL:
        raise DeadLetter(f"{what}: the URL is not valid, or it redirects to one that is not") from None
    except httpx.HTTPError as error:
        secrets = Secrets.of(url, {}, process_settings().webhook_proxy)
        raise DownloadFailed(secrets.blot(f"{what} failed: {error or type(error).__name__}")) from None
    if answer.status >= 400:
        raise _refusal(f"{what} answered {answer.status}", answer)
    return answer.content


async def _get(url: httpx.URL, limit_bytes: int, timeout_seconds: float) -> _Download:
    async def read(response: httpx.Response) -> _Download:
        content = bytearray()
        if response.status_code < 400:
            # What was sent is what counts: an encoding was not asked for, and is not undone.
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > limit_bytes:
                    raise TooLarge(f"it has more than {limit_bytes:,} bytes")
        return _Download(response.status_code, response.headers.get("retry-after", ""), bytes(content))

    async with asyncio.timeout(timeout_seconds):
        return await exchange_as(
            Request("GET", url, {}, {}, None),
            NetworkRule.of(process_settings().webhook_allow),
            process_settings().webhook_proxy,
            read,
        )


def _refusal(message: str, answer: _Download) -> Exception:
    if mended_by_no_retry(answer.status):
        return DeadLetter(message)
    after = retry_after_seconds(answer.retry_after, now=datetime.now(UTC))
    return DownloadFailed(message) if after is None else Retry(message, after=after)
