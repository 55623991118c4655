"""The REST API as the commands speak it: over HTTP to a server, or in this process over the database.

Either way a command is the same request; with the database the application that a server would run answers it here.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from taskflow.cli.failures import ApiRefusal, Refusal
from taskflow.errors import TaskflowError

if TYPE_CHECKING:
    import httpx

PREFIX = "/api/v1"
LOCAL = "http://localhost"
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0  # a batch takes up to 20 s, `?wait=` up to 25 s
PAGE = 200
TRIES = 4
LONGEST_PAUSE_SECONDS = 10.0
Query = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered: `body` as JSON, `etag` to change it by."""

    status: int
    body: Any
    etag: str | None = None


class Api:
    """Requests, one after the other. Raises `Refusal` for whatever is no success."""

    def __init__(self, http: httpx.Client, *, on_close: Callable[[], None] | None = None) -> None:
        self.is_direct = on_close is not None
        """Whether it is the database that is asked, and not a server."""
        self._http = http
        self._on_close = on_close

    def get(self, path: str, **query: Any) -> Any:
        """The body of the answer; None in the query is left out."""
        return self.request("GET", path, query=query).body

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """The body of the answer."""
        return self.request("POST", path, body, query=query).body

    def patch(self, path: str, body: Any, *, etag: str | None = None) -> Any:
        """The body of the answer; with `etag` only if nobody has changed it since."""
        headers = {} if etag is None else {"If-Match": etag}
        return self.request("PATCH", path, body, headers=headers).body

    def delete(self, path: str, **query: Any) -> Any:
        """The body of the answer."""
        return self.request("DELETE", path, query=query).body

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """The answers of a list, page after page."""
        cursor: str | None = None
        while True:
            page = self.get(path, **{"limit": PAGE, **query, "cursor": cursor})
            yield page
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def request(
        self, method: str, path: str, body: Any = None, *, query: Query | None = None, headers: Query | None = None
    ) -> Answer:
        """Send a request to a path below /api/v1."""
        return self._send(method, path, query, headers, json=body)

    def send_lines(self, path: str, lines: bytes, *, key: str, query: Query | None = None) -> Answer:
        """POST lines of JSON. With the Idempotency-Key `key` it may be sent again where no answer came, and is."""
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        for left in reversed(range(TRIES)):
            try:
                return self._send("POST", path, query, headers, content=lines)
            except Refusal as refusal:
                if not left or refusal.code not in ("server_unreachable", "rate_limited", "request_in_progress"):
                    raise
                time.sleep(min(LONGEST_PAUSE_SECONDS, 2.0 ** (TRIES - left) / 4))
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, query: Query | None, headers: Query | None, **content: Any) -> Answer:
        import httpx

        parameters: Any = [(name, _text(item)) for name, value in (query or {}).items() for item in _items(value)]
        try:
            response = self._http.request(
                method, PREFIX + path, params=parameters, headers=dict(headers or {}), **_without_none(content)
            )
        except TaskflowError:
            raise
        except httpx.InvalidURL as error:
            raise Refusal("not_taskflow", str(error)) from error
        except httpx.TimeoutException as error:
            raise Refusal("server_unreachable", f"{self._http.base_url} did not answer in time") from error
        except (httpx.HTTPError, OSError) as error:
            raise Refusal("server_unreachable", f"{self._http.base_url}: {error}") from error
        return self._answer(response)

    def _answer(self, response: httpx.Response) -> Answer:
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        try:
            body = response.json() if kind in ("application/json", "application/problem+json") else None
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return Answer(response.status_code, body, response.headers.get("ETag"))
        if kind == "application/problem+json" and isinstance(body, dict):
            raise ApiRefusal(body, response.status_code)
        if response.is_redirect:
            raise Refusal("not_taskflow", f"It sends to another address: {response.headers.get('Location', '')}")
        said = f"{self._http.base_url} answered {response.status_code} with {kind or 'nothing'}, as taskflow never does"
        raise Refusal("not_taskflow", f"{said}: another program answers there, or the path of the address is wrong.")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        if self._on_close is not None:
            self._on_close()


def over_http(url: str, key: str) -> Api:
    """The API of a server. `key` may be empty. Raises `Refusal` for what cannot be an address."""
    import httpx

    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise Refusal("not_taskflow", f"{error}") from error
    if address.scheme not in ("http", "https") or not address.host:
        raise Refusal("not_taskflow", "The address must begin with http:// or https:// and name a host.")
    if address.userinfo:
        raise Refusal("not_taskflow", "The address must have no user or password: a key goes into TASKFLOW_KEY.")
    if address.query or address.fragment:
        raise Refusal("not_taskflow", "The address must have no ? and no #.")
    if not key.isascii() or not key.isprintable():
        raise Refusal("unauthorized", "The key has characters that no key has.")
    headers = {"User-Agent": "taskflow-cli"} | ({"Authorization": f"Bearer {key}"} if key else {})
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    base = url.rstrip("/").removesuffix(PREFIX)
    return Api(httpx.Client(base_url=base, headers=headers, timeout=timeout))


def over_database(database_url: str, resources: tuple[str, ...], *, shows_secrets: bool = False) -> Api:
    """The API over a database, with these resources, for whoever is at the command line: they may do everything.

    `shows_secrets`: values under names such as `password` are shown.
    """
    import httpx

    from taskflow.cli.local_app import closed, local_app

    app = local_app(database_url, resources, actor(), shows_secrets=shows_secrets)
    http = httpx.Client(transport=httpx.WSGITransport(app), base_url=LOCAL)
    return Api(http, on_close=lambda: closed(app))


def actor() -> str:
    """Who sits at the command line, for the audit log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "somebody"
    return f"{user}@{socket.gethostname()} (command line)"


def _items(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _without_none(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
