"""One mail handed to one SMTP server, and what the server says to that.

A reply of 4xx means: later; one of 5xx: never (RFC 5321, 4.2.1). Whatever breaks the connection means: later.
"""

from __future__ import annotations

import base64
import contextlib
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from taskflow.errors import DeadLetter
from taskflow.handlers._mail_message import Mail
from taskflow.handlers._secrets import Secrets
from taskflow.settings import Settings

PORTS = {"off": 25, "starttls": 587, "tls": 465}
GOODBYE_SECONDS = 5.0
REPLY_CHARACTERS = 500
CLOSING = 421


class EmailFailed(Exception):
    """The server could not be reached, or said that it takes the mail later; retried by the task's policy."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the server said: the code, and its text on one line without our secrets."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()

    @property
    def is_final(self) -> bool:
        """Whether the same would be said again."""
        return 500 <= self.code < 600


@dataclass(frozen=True, slots=True)
class Delivery:
    """Who gets the mail, and what was said of the others."""

    accepted: tuple[str, ...]
    refused: dict[str, Reply]


def deliver(settings: Settings, mail: Mail, recipients: Sequence[str]) -> Delivery:
    """Hand `mail` over for these recipients. Raises `DeadLetter` where no retry helps, else `EmailFailed`.

    That the server refuses recipients, even all of them, is no error here.
    """
    secrets = _secrets(settings)
    what = f"the SMTP server {settings.smtp_host}:{_port(settings)}"
    try:
        with _session(settings) as server:
            if mail.needs_utf8:
                _check_utf8(server, what)
            options = ("SMTPUTF8",) if mail.needs_utf8 else ()
            try:
                refused = server.sendmail(mail.sender, recipients, mail.content, options)
            except smtplib.SMTPRecipientsRefused as error:
                refused = error.recipients
                closing = next((reply for reply in refused.values() if reply[0] == CLOSING), None)
                if closing is not None:  # those it was not asked about are refused as well
                    refused = {**dict.fromkeys(recipients, closing), **refused}
    except (OSError, smtplib.SMTPException) as error:
        # Not "from error": its text may quote what was sent.
        raise _failure(what, error, settings, secrets) from None
    replies = {recipient: _reply(code, text, secrets) for recipient, (code, text) in refused.items()}
    return Delivery(tuple(one for one in recipients if one not in replies), replies)


@contextlib.contextmanager
def _session(settings: Settings) -> Iterator[smtplib.SMTP]:
    """A connection that is encrypted and logged in as the settings say."""
    server = _connected(settings)
    try:
        if settings.smtp_tls == "starttls":
            server.starttls(context=_trust())
        server.ehlo_or_helo_if_needed()
        if settings.smtp_user:
            server.login(settings.smtp_user, settings.smtp_password)
        yield server
        _part(server)
    finally:
        server.close()


def _connected(settings: Settings) -> smtplib.SMTP:
    host, port, timeout = settings.smtp_host, _port(settings), settings.smtp_timeout
    if settings.smtp_tls == "tls":
        return smtplib.SMTP_SSL(host, port, _own_name(), timeout=timeout, context=_trust())
    return smtplib.SMTP(host, port, _own_name(), timeout=timeout)


def _part(server: smtplib.SMTP) -> None:
    """Say goodbye; the mail is taken already, so nothing that goes wrong here matters."""
    with contextlib.suppress(OSError, smtplib.SMTPException):
        if server.sock is not None:
            server.sock.settimeout(GOODBYE_SECONDS)
            server.quit()


def _port(settings: Settings) -> int:
    return settings.smtp_port or PORTS[settings.smtp_tls]


@cache
def _own_name() -> str:
    """The name for EHLO, or an address in its place; asked once, for a resolver may take seconds to say no."""
    name = socket.getfqdn()
    return name if "." in name else "[127.0.0.1]"


@cache
def _trust() -> ssl.SSLContext:
    """Made once, with the file of SSL_CERT_FILE if that is set: reading all certificates takes longer than a mail."""
    return ssl.create_default_context()


def _check_utf8(server: smtplib.SMTP, what: str) -> None:
    if not server.has_extn("smtputf8"):
        raise DeadLetter(
            f"{what} has no SMTPUTF8, which an address with other letters than ASCII before its @ needs: "
            "use another address or another server"
        )


def _failure(what: str, error: Exception, settings: Settings, secrets: Secrets) -> Exception:
    """The error of the attempt, in words that say what to do."""
    match error:
        case smtplib.SMTPAuthenticationError():
            reply = _reply(error.smtp_code, error.smtp_error, secrets)
            advice = "check TASKFLOW_SMTP_USER and TASKFLOW_SMTP_PASSWORD of the worker, and retry the task"
            return _error(reply, f"{what} refused the login: {reply}; {advice}")
        case smtplib.SMTPResponseException():
            reply = _reply(error.smtp_code, error.smtp_error, secrets)
            return _error(reply, f"{what} {_step(error)}: {reply}")
        case smtplib.SMTPNotSupportedError() if settings.smtp_tls == "starttls" and "STARTTLS" in str(error):
            return DeadLetter(f"{what} has no STARTTLS: set TASKFLOW_SMTP_TLS to tls, or to off in a network you trust")
        case smtplib.SMTPException() if "auth" in str(error).lower():  # neither AUTH at all, nor one that smtplib knows
            return DeadLetter(
                f"{what} offers no login with a password (CRAM-MD5, PLAIN or LOGIN): check TASKFLOW_SMTP_TLS and "
                "TASKFLOW_SMTP_PORT, or unset TASKFLOW_SMTP_USER"
            )
        case ssl.SSLCertVerificationError():
            return EmailFailed(
                f"{what} shows a certificate that is not trusted: {error.verify_message}; "
                "SSL_CERT_FILE names the certificates of authorities of your own"
            )
        case ssl.SSLError():
            return EmailFailed(f"{what} does not speak TLS as expected ({error.reason}): check TASKFLOW_SMTP_TLS")
        case smtplib.SMTPServerDisconnected() if "timed out" in str(error):
            return EmailFailed(f"{what} gave no answer within {settings.smtp_timeout:g} seconds")
        case smtplib.SMTPServerDisconnected():
            return EmailFailed(f"{what} closed the connection before it had taken the mail")
        case smtplib.SMTPException():
            return EmailFailed(secrets.blot(f"{what} failed: {error}"))
        case TimeoutError():
            return EmailFailed(f"{what} gave no answer within {settings.smtp_timeout:g} seconds")
    return EmailFailed(f"{what} cannot be reached: {getattr(error, 'strerror', None) or error}")


def _step(error: smtplib.SMTPResponseException) -> str:
    match error:
        case smtplib.SMTPSenderRefused():
            return f"refused the sender {error.sender}"
        case smtplib.SMTPDataError():
            return "refused the mail"
        case smtplib.SMTPConnectError() | smtplib.SMTPHeloError():
            return "takes no mail"
    return "refused"


def _error(reply: Reply, message: str) -> Exception:
    return DeadLetter(message) if reply.is_final else EmailFailed(message)


def _reply(code: int, text: bytes | str, secrets: Secrets) -> Reply:
    """On one line, so that it can be stored and logged."""
    decoded = text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
    plain = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", decoded).strip()
    return Reply(code, secrets.blot(plain)[:REPLY_CHARACTERS])


def _secrets(settings: Settings) -> Secrets:
    """The password, also as it travels."""
    user, password = settings.smtp_user, settings.smtp_password
    if not password:
        return Secrets(())
    sent = (password, f"\0{user}\0{password}")
    return Secrets.from_values((*sent, *(base64.b64encode(text.encode()).decode() for text in sent)))
