"""The deployment that a load test talks to: one HTTP connection a client, as cheap as the standard library has them.

What is measured is the server: with httpx a request costs this process about three times as much of the processor, and
on one machine that would be taken from the server.
"""

from __future__ import annotations

import http.client
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from taskflow.errors import TaskflowError

REQUEST_SECONDS = 30.0
NO_SUCCESS = 300  # a redirect is not followed: it would take the key elsewhere, and time two servers as one
NO_KEY = {401, 403}


class RefusedRequest(TaskflowError):
    """The server answered with an error; `kind` is its status and code, `detail` its sentence."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.kind = f"{status} {code}"


class LostRequest(TaskflowError):
    """The request got no answer; `kind` says why in a few words."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind = kind


class Target:
    """A server by its URL, and the key that is shown to it. Raises `TaskflowError` for an address that is none."""

    def __init__(self, url: str, key: str | None = None) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise TaskflowError(f"{url!r} is no address: {error}. Say it as http://host:8080.") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise TaskflowError(f"{url!r} is no address of a server. Say it as http://host:8080 or https://host.")
        self.prefix = parts.path.rstrip("/")
        self.shown = f"{parts.scheme}://{parts.hostname}{f':{port}' if port else ''}{self.prefix}"
        self._host, self._port = parts.hostname, port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key:
            if not key.isascii() or not key.isprintable() or " " in key:
                raise TaskflowError("The key has characters that no key has. Copy it again, without spaces around it.")
            self.headers["Authorization"] = f"Bearer {key}"

    def connection(self) -> http.client.HTTPConnection:
        """A connection that is not open yet."""
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=REQUEST_SECONDS, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_SECONDS)


@dataclass(slots=True)
class TargetClient:
    """One keep-alive connection to a target; not for two threads at once."""

    target: Target
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = self.target.connection()

    def request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer. Raises `RefusedRequest` or `LostRequest`; the connection is opened anew then."""
        connection = self._connection
        try:
            connection.request(method, self.target.prefix + path, body, self.target.headers)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise LostRequest(_in_words(error), str(error) or type(error).__name__) from error
        if answer.status >= NO_SUCCESS:
            raise _refused(answer.status, content)
        return content

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        content = self.request("GET", path)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise TaskflowError(
                f"{self.target.shown}{path} does not answer JSON: is that a taskflow server?"
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def check(client: TargetClient, type_: str, queue: str) -> dict[str, Any]:
    """What a load test needs, looked at before it begins: an answer, a key that may do it, a worker for its tasks.

    Returns what a reader of the figures wants to know of the deployment. Raises `TaskflowError` with the way out.
    """
    shown = client.target.shown
    try:
        version = client.get("/health")["version"]
        workers = client.get("/api/v1/workers?limit=200")["workers"]
    except LostRequest as error:
        raise TaskflowError(
            f"Nothing answers at {shown} ({error}). Start it with `taskflow dev`, or name another with --url."
        ) from error
    except RefusedRequest as error:
        hint = " Show it a key with the scopes read and enqueue: --key." if error.status in NO_KEY else ""
        raise TaskflowError(f"{shown} refuses: {error}.{hint}") from error
    except (KeyError, TypeError) as error:
        raise TaskflowError(f"{shown} does not answer as a taskflow server does.") from error
    able = [
        worker
        for worker in workers
        if type_ in worker["types"]
        and (worker["queues"] is None or queue in worker["queues"])
        and worker["state"] in ("idle", "busy")
    ]
    if not able:
        raise TaskflowError(
            f"No worker of {shown} runs {type_!r} from the queue {queue!r}: nothing would be completed. Start one"
            " (taskflow worker), or choose another --type or --queue."
        )
    return {"version": version, "workers": len(able), "slots": sum(worker["concurrency"] for worker in able)}


def _refused(status: int, content: bytes) -> RefusedRequest:
    """By the problem document; something in between may have answered without one."""
    try:
        problem = orjson.loads(content)
        return RefusedRequest(status, str(problem["code"]), str(problem["detail"]))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return RefusedRequest(
            status, http.client.responses.get(status, "error"), content[:200].decode(errors="replace")
        )


def _in_words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer in {REQUEST_SECONDS:g} s"
        case ConnectionRefusedError():
            return "connection refused"
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return "connection closed"
        case ssl.SSLError():
            return "TLS"
        case http.client.HTTPException():
            return "no HTTP"
    return "no connection"
