"""A mail as it is handed to a server: its bytes, and the envelope that says from whom and to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import EmailPolicy

from taskflow.handlers._email_payload import Attachment, Email, listed
from taskflow.handlers._mail_address import address_of, is_international

LONGEST_LINE = 998  # RFC 5322, 2.1.1


class _Policy(EmailPolicy):
    """Leaves plain header lines alone: `email` tears a long word, such as the URL of List-Unsubscribe, in two."""

    def fold_binary(self, name: str, value: str) -> bytes:
        line = f"{name}: {value}"
        if line.isascii() and len(line) <= LONGEST_LINE and not name.lower().startswith("content-"):
            return line.encode() + b"\r\n"
        return super().fold_binary(name, value)


# 7bit: what a text has beyond ASCII is encoded, so that every server can take it.
POLICY = _Policy(linesep="\r\n", cte_type="7bit", max_line_length=78)


@dataclass(frozen=True, slots=True)
class Mail:
    """`key` names the content; it and `message_id` are the same in every attempt.

    `needs_utf8` says that only a server with SMTPUTF8 can take it.
    """

    key: str
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    needs_utf8: bool
    content: bytes


def mail_of(payload: Email, sender: str, task_id: int) -> Mail:
    """The mail that a payload asks for, from `sender`. Raises `ValueError` if that is no address."""
    author = address_of(sender)
    to, cc, bcc = (tuple(map(address_of, listed(field))) for field in (payload.to, payload.cc, payload.bcc))
    recipients = (*to, *cc, *bcc)
    reply_to = tuple(map(address_of, listed(payload.reply_to)))
    key = _key(payload, sender, task_id)
    message_id = f"<taskflow.{task_id}.{key}@{author.domain}>"
    needs_utf8 = any(map(is_international, (author, *recipients, *reply_to)))
    message = EmailMessage(policy=POLICY.clone(utf8=needs_utf8))
    message["From"] = author
    message["To"] = to
    if cc:
        message["Cc"] = cc  # and never bcc: those are in the envelope alone
    if reply_to:
        message["Reply-To"] = reply_to
    if payload.subject:
        message["Subject"] = payload.subject
    message["Date"] = datetime.now(UTC)
    message["Message-ID"] = message_id
    for name, value in payload.headers.items():
        message[name] = value
    _fill(message, payload)
    return Mail(
        key,
        message_id,
        author.addr_spec,
        tuple(dict.fromkeys(address.addr_spec for address in recipients)),
        needs_utf8,
        message.as_bytes(),
    )


def _key(payload: Email, sender: str, task_id: int) -> str:
    """A digest of what the recipients see, and of the task's number.

    So it needs no look into the database to be the same in each attempt, and differs between systems whose tasks have
    the same numbers. Without bcc: who has a mail could try out who else got it.
    """
    seen = payload.model_dump_json(by_alias=True, exclude={"bcc"})
    return hashlib.sha256(f"{task_id}\0{sender}\0{seen}".encode()).hexdigest()[:20]


def _fill(message: EmailMessage, payload: Email) -> None:
    text = payload.body if payload.body is not None else payload.text
    if text is not None or payload.html is None:
        message.set_content(text or "")
        if payload.html is not None:
            message.add_alternative(payload.html, subtype="html")
    else:
        message.set_content(payload.html, subtype="html")
    _attach(message, payload.attachments)


def _attach(message: EmailMessage, attachments: Iterable[Attachment]) -> None:
    for attachment in attachments:
        maintype, _, subtype = attachment.content_type.partition("/")
        message.add_attachment(attachment.data, maintype=maintype, subtype=subtype, filename=attachment.filename)
