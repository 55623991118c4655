"""One HTTP exchange of the `webhook` type: a bounded number of redirects, a bounded answer."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import cache
from ssl import SSLContext
from typing import TypeVar

import httpx

from taskflow.handlers._network_rule import NetworkRule
from taskflow.handlers._reach import Direct, Proxied
from taskflow.handlers._secrets import Secrets
from taskflow.handlers._unlogged import unlogged

MAX_REDIRECTS = 5
UNLIMITED = httpx.Timeout(None)
BODY_LIMIT_BYTES = 64 * 1024
HEADER_LIMIT_CHARACTERS = 1024
# Those that help to understand an answer; cookies and the like are nobody's business.
KEPT_HEADERS = ("content-type", "content-length", "date", "etag", "retry-after", "server", "x-request-id")
# The charsets that decode fast and to storable text; Python knows others ("punycode", "utf-7") that do not.
CHARSETS = frozenset({"ascii", "utf-8", "iso-8859-1", "iso-8859-15", "windows-1252"})
WORTH_A_RETRY = frozenset({408, 425, 429})

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Request:
    """What to send. `private_headers` and the URL's user go to its own origin only, `public_headers` everywhere.

    `content` is content type and bytes, or None; a content type among the headers wins.
    """

    method: str
    url: httpx.URL
    private_headers: Mapping[str, str]
    public_headers: Mapping[str, str]
    content: tuple[str, bytes] | None

    def built_by(self, client: httpx.AsyncClient) -> httpx.Request:
        """This request as httpx sends it."""
        # "identity", so that the limit on the answer is one on what it unpacks to as well
        headers = httpx.Headers({"User-Agent": "taskflow", "Accept-Encoding": "identity"})
        if self.content:
            headers["Content-Type"] = self.content[0]
        headers.update(self.private_headers)
        headers.update(self.public_headers)
        return client.build_request(self.method, self.url, headers=headers, content=self.content and self.content[1])


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, the headers worth keeping, and the body's first 64 KiB as text that PostgreSQL can store."""

    status: int
    headers: dict[str, str]
    body: str
    truncated: bool

    def blotted(self, secrets: Secrets) -> Answer:
        """The same without the secrets that the receiver may have quoted."""
        headers = {name: secrets.blot(value) for name, value in self.headers.items()}
        return replace(self, headers=headers, body=secrets.blot(self.body))


def mended_by_no_retry(status: int) -> bool:
    """Whether an answer says that the request itself is wrong: of the 4xx all but those that may pass."""
    return 400 <= status < 500 and status not in WORTH_A_RETRY


async def exchange(request: Request, rule: NetworkRule, proxy: str, is_wanted: Callable[[int], bool]) -> Answer:
    """Send `request`, follow redirects, read the answer; a redirect whose status `is_wanted` is an answer.

    Each connection, those after redirects included, obeys `rule`; `proxy` is a URL, or empty for none.
    Raises `httpx.HTTPError`, `httpx.InvalidURL` or `AddressRefused`.

    There is no time limit in here; the caller sets one for the whole. (httpx's are per read: a receiver that sends a
    byte now and then would never meet them.)
    """
    return await exchange_as(request, rule, proxy, _read, is_wanted)


async def exchange_as(
    request: Request,
    rule: NetworkRule,
    proxy: str,
    read: Callable[[httpx.Response], Awaitable[Result]],
    is_wanted: Callable[[int], bool] = lambda _: False,
) -> Result:
    """`exchange`, with the last answer as `read` makes it of the response, whose body is still to come."""
    # A client an exchange: nothing of one receiver's, no cookie and no connection, is ever used for another.
    with unlogged():
        async with httpx.AsyncClient(transport=_transport(rule, proxy), timeout=UNLIMITED) as client:
            for _ in range(1 + MAX_REDIRECTS):
                response = await client.send(request.built_by(client), stream=True)
                async with aclosing(response):
                    if not response.has_redirect_location or is_wanted(response.status_code):
                        return await read(response)
                    request = _redirected(request, response)
    raise httpx.TooManyRedirects(f"it redirects more than {MAX_REDIRECTS} times")


def _transport(rule: NetworkRule, proxy: str) -> httpx.AsyncBaseTransport:
    if proxy:
        return Proxied(rule, httpx.AsyncHTTPTransport(verify=_trust(), proxy=proxy))
    return Direct(rule, httpx.AsyncHTTPTransport(verify=_trust()))


@cache
def _trust() -> SSLContext:
    """Made once: reading the root certificates takes longer than most requests."""
    return httpx.create_ssl_context()


def _redirected(request: Request, response: httpx.Response) -> Request:
    """The request that follows `response`.

    301 and 302 keep the method, as RFC 9110 15.4 allows: a delivery that turned into an empty GET would look received.
    Only 303, which says that the first request was taken, is followed by a GET.
    """
    url = request.url.join(response.headers["location"])
    if url.scheme not in ("http", "https") or not url.host:
        raise httpx.UnsupportedProtocol("it redirects to something that is not http or https")
    if (request.url.scheme, url.scheme) == ("https", "http"):
        raise httpx.UnsupportedProtocol("it redirects from https to http")
    if _origin(url) == _origin(request.url):
        request = replace(request, url=url.copy_with(userinfo=request.url.userinfo))
    else:
        request = replace(request, url=url.copy_with(userinfo=b""), private_headers={})
    if response.status_code == 303 and request.method != "HEAD":
        request = replace(request, method="GET", content=None)
    return request


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]


async def _read(response: httpx.Response) -> Answer:
    body, truncated = await _read_body(response)
    return Answer(
        status=response.status_code,
        headers={
            name: _storable(value[:HEADER_LIMIT_CHARACTERS])
            for name in KEPT_HEADERS
            if (value := response.headers.get(name)) is not None
        },
        body=_storable(body.decode(_charset(response), errors="replace")),
        truncated=truncated,
    )


async def _read_body(response: httpx.Response) -> tuple[bytes, bool]:
    """Read no further than the limit, and unpack no further either: a kilobyte of gzip can hold a gigabyte."""
    unpack = _unpacker(response.headers.get("content-encoding", ""))
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += unpack(chunk, BODY_LIMIT_BYTES + 1 - len(body))
        if len(body) > BODY_LIMIT_BYTES:
            break
    return bytes(body[:BODY_LIMIT_BYTES]), len(body) > BODY_LIMIT_BYTES


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """A function from (chunk, most bytes wanted) to bytes, for receivers that compress without being asked."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return lambda chunk, limit: chunk[:limit]
    unzip = zlib.decompressobj(wbits=32 + zlib.MAX_WBITS)

    def unpack(chunk: bytes, limit: int) -> bytes:
        try:
            return unzip.decompress(chunk, limit)
        except zlib.error:
            return b""  # the status says that it arrived; an answer that cannot be shown must not send it again

    return unpack


def _charset(response: httpx.Response) -> str:
    charset = (response.charset_encoding or "utf-8").lower()
    return charset if charset in CHARSETS else "utf-8"


def _storable(text: str) -> str:
    """jsonb has no U+0000."""
    return text.replace("\0", "\ufffd")
