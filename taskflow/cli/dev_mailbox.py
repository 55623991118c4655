"""The mailbox of `taskflow dev`: what arrived, one file a mail, the latest only."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Any, Self

from taskflow.errors import TaskflowError

MOST_MAILS = 200
MOST_BYTES = 50 * 2**20
FROM, TO, AT = "X-Envelope-From", "X-Envelope-To", "X-Arrived-At"
_FILE = re.compile(r"([1-9][0-9]*)\.eml")


@dataclass(frozen=True, slots=True)
class Arrived:
    """One mail. The envelope says who really gets it, bcc included."""

    number: int
    arrived_at: datetime
    envelope_from: str
    envelope_to: tuple[str, ...]
    message: EmailMessage

    @classmethod
    def read(cls, number: int, content: bytes) -> Self:
        message: Any = BytesParser(policy=policy.default).parsebytes(content)
        sender, recipients, moment = (str(message.get(name, "")) for name in (FROM, TO, AT))
        for name in (FROM, TO, AT):
            del message[name]
        return cls(number, datetime.fromisoformat(moment), sender, tuple(recipients.split()), message)

    @property
    def subject(self) -> str:
        return str(self.message.get("Subject", ""))

    def body(self, kind: str) -> str | None:
        """The text (`plain`) or the HTML (`html`), None if there is none."""
        part: Any = self.message.get_body((kind,))
        if part is None:
            return None
        try:
            return str(part.get_content())
        except LookupError:  # a charset that nobody knows
            return bytes(part.get_payload(decode=True)).decode(errors="replace")

    def attachments(self) -> list[dict[str, Any]]:
        """Name, media type and size of each file."""
        return [
            {
                "filename": part.get_filename(),
                "content_type": part.get_content_type(),
                "size_bytes": len(part.get_payload(decode=True) or b""),
            }
            for part in self.message.iter_attachments()
        ]

    def as_object(self) -> dict[str, Any]:
        """For JSON: the headers, the bodies, what is attached, and the envelope."""
        return {
            "number": self.number,
            "arrived_at": self.arrived_at.isoformat(),
            "envelope": {"from": self.envelope_from, "to": list(self.envelope_to)},
            "subject": self.subject,
            "headers": [[name, str(value)] for name, value in self.message.items()],
            "text": self.body("plain"),
            "html": self.body("html"),
            "attachments": self.attachments(),
        }


class Mailbox:
    """The mails in a directory, numbered as they arrived; one process adds, any may read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def of(cls, home: Path) -> Self:
        """That of the `taskflow dev` which keeps its data in `home`."""
        return cls(home.absolute() / "mail")

    def add(self, sender: str, recipients: Sequence[str], content: bytes) -> int:
        """Keep a mail and return its number; what is too much is removed, the oldest first."""
        self.directory.mkdir(exist_ok=True)
        number = max(self._numbers(), default=0) + 1
        envelope = f"{FROM}: {sender}\r\n{TO}: {' '.join(recipients)}\r\n{AT}: {datetime.now(UTC).isoformat()}\r\n"
        half = self.directory / f"{number}.arriving"
        half.write_bytes(envelope.encode(errors="replace") + content)
        os.replace(half, self._file(number))  # so that nobody reads the half of one
        self._make_room()
        return number

    def mails(self) -> Iterator[Arrived]:
        """All of them, the latest first."""
        for number in sorted(self._numbers(), reverse=True):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                yield Arrived.read(number, self._file(number).read_bytes())

    def mail(self, number: int) -> Arrived:
        """One of them. Raises `TaskflowError` if it is not there."""
        return Arrived.read(number, self.source(number))

    def source(self, number: int) -> bytes:
        """The file of one. Raises `TaskflowError` if it is not there."""
        try:
            return self._file(number).read_bytes()
        except FileNotFoundError:
            raise TaskflowError(f"There is no mail {number}. `taskflow dev mail` lists them.") from None

    def clear(self) -> None:
        """Remove all."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.directory / f"{number}.eml"

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return [int(found[1]) for name in names if (found := _FILE.fullmatch(name))]

    def _make_room(self) -> None:
        total = 0
        for place, number in enumerate(sorted(self._numbers(), reverse=True)):
            total += self._file(number).stat().st_size
            if place and (place >= MOST_MAILS or total > MOST_BYTES):
                self._file(number).unlink()
