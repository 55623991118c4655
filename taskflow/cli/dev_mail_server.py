"""The SMTP server of `taskflow dev`: takes every mail for everybody, keeps it, and sends none on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskflow.cli.dev_mailbox import Mailbox
from taskflow.settings import Settings
from taskflow.settings.running_dev import DIRECTORY

HOST = "127.0.0.1"
LARGEST_MAIL_BYTES = 20 * 2**20
NOT_CAUGHT = "cannot be sent: pip install 'taskflow-pg[embedded]', which catches it, or set TASKFLOW_SMTP_HOST"
SENDER = "taskflow@localhost"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where mail goes: the settings that say so to our processes, and the same for people."""

    shown: str
    environment: dict[str, str] = field(default_factory=dict)


@contextlib.contextmanager
def outgoing(settings: Settings, home: Path, *, fresh: bool) -> Iterator[Outgoing]:
    """The server that the settings name, or one of our own for as long as the block runs; `fresh` drops what it has."""
    mailbox = Mailbox.of(home)
    if fresh:
        mailbox.clear()
    if settings.smtp_host:
        yield Outgoing(f"goes out through {settings.smtp_host}")
        return
    try:
        import aiosmtpd.smtp  # noqa: F401
    except ImportError:
        yield Outgoing(NOT_CAUGHT)
        return
    with serving(mailbox) as port:
        environment = {
            "TASKFLOW_SMTP_HOST": HOST,
            "TASKFLOW_SMTP_PORT": str(port),
            "TASKFLOW_SMTP_TLS": "off",
            "TASKFLOW_SMTP_USER": "",
            "TASKFLOW_SMTP_PASSWORD": "",
            "TASKFLOW_EMAIL_FROM": settings.email_from or SENDER,
        }
        elsewhere = "" if home.absolute() == DIRECTORY.absolute() else f" --directory {home}"
        yield Outgoing(f"is caught on {HOST}:{port}: taskflow dev mail{elsewhere} shows it", environment)


@contextlib.contextmanager
def serving(mailbox: Mailbox) -> Iterator[int]:
    """Serve SMTP into `mailbox` in a thread while the block runs; gives the port, any that is free.

    In a thread of this process, so that it ends with it, however that ends.
    """
    from aiosmtpd.smtp import SMTP

    def protocol() -> Any:
        return SMTP(
            _Taker(mailbox),
            data_size_limit=LARGEST_MAIL_BYTES,
            enable_SMTPUTF8=True,
            hostname="taskflow-dev",
            loop=loop,
        )

    loop = asyncio.new_event_loop()
    with socket.create_server((HOST, 0)) as listening:
        server = loop.run_until_complete(_start(protocol, listening))
        thread = threading.Thread(target=loop.run_forever, name="mailbox", daemon=True)
        thread.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            ending = asyncio.run_coroutine_threadsafe(_end(server), loop)
            ending.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
            thread.join()
            loop.close()


async def _start(protocol: Any, listening: socket.socket) -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(protocol, sock=listening)


async def _end(server: asyncio.Server) -> None:
    """Close the port and what is connected to it."""
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class _Taker:
    """What the SMTP server calls, by the names that it wants."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        try:
            number = self._mailbox.add(envelope.mail_from or "", envelope.rcpt_tos, envelope.original_content)
        except OSError as error:
            return f"452 the mailbox cannot be written: {error.strerror}"
        return f"250 kept as mail {number}"
