"""A real SMTP server for tests: answers as the test says, and remembers what it got."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


@dataclass(frozen=True)
class Got:
    """One mail, and the envelope it came in."""

    sender: str
    recipients: list[str]
    content: bytes

    @property
    def message(self) -> EmailMessage:
        message: Any = BytesParser(policy=policy.default).parsebytes(self.content)
        return message


@dataclass
class MailServer:
    """`replies` has the answer to an address in RCPT, or to `MAIL` and `DATA`; `drops` names the step to hang up at."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    replies: dict[str, str] = field(default_factory=dict)
    drops: str = ""
    asked: list[str] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    quote_login: bool = False

    def _answer(self, step: str, server: Any) -> str | None:
        if self.drops == step:
            server.transport.abort()
        return self.replies.get(step)

    async def handle_MAIL(self, server: Any, _session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        if reply := self._answer("MAIL", server):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server: Any, _session: Any, envelope: Any, address: str, _options: list[str]) -> str:  # noqa: N802
        self.asked.append(address)
        if reply := self._answer(address, server):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if reply := self._answer("DATA", server):
            return reply
        self.got.append(Got(envelope.mail_from, envelope.rcpt_tos, envelope.original_content))
        self._answer("ACCEPTED", server)
        return "250 kept"

    def authenticate(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        user, password = data.login.decode(), data.password.decode()
        self.logins.append((user, password))
        if password == "right-password":
            return AuthResult(success=True)
        quoted = f"535 5.7.8 no {password}" if self.quote_login else None
        return AuthResult(success=False, handled=False, message=quoted)


@contextlib.contextmanager
def serving(
    server: MailServer, *, tls: ssl.SSLContext | None = None, starttls: ssl.SSLContext | None = None, **options: Any
) -> Iterator[MailServer]:
    """Run `server` in a thread on a free port of the loopback."""
    loop = asyncio.new_event_loop()

    def protocol() -> SMTP:
        return SMTP(
            server,
            loop=loop,
            hostname="mx.test",
            tls_context=starttls,
            authenticator=server.authenticate,
            **{"enable_SMTPUTF8": True, "auth_require_tls": False, **options},
        )

    with contextlib.closing(loop), socket.create_server(("127.0.0.1", 0)) as listening:
        server.port = listening.getsockname()[1]
        with in_thread(loop, lambda: loop.create_server(protocol, sock=listening, ssl=tls)):
            yield server


@contextlib.contextmanager
def in_thread(loop: asyncio.AbstractEventLoop, start: Callable[[], Any]) -> Iterator[None]:
    started = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(end(started), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


async def end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
