"""The mailbox of `taskflow dev`: what is sent to it is kept, shown, and no more than that."""

from __future__ import annotations

import json
import smtplib
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taskflow.cli import dev_mailbox
from taskflow.cli.dev_mail_server import outgoing, serving
from taskflow.cli.dev_mailbox import Mailbox
from taskflow.cli.main import main
from taskflow.settings import load

TO = "ann@example.com"


def mail(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["dev", "mail", *arguments], prog_name="taskflow")


def message(subject: str = "hello", text: str = "first line\nsecond") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Shop <shop@example.com>", TO, subject
    made.set_content(text)
    return made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".taskflow").mkdir()
    return tmp_path / ".taskflow"


@pytest.fixture
def mailbox(home: Path) -> Mailbox:
    return Mailbox.of(home)


@pytest.fixture
def smtp(mailbox: Mailbox) -> Iterator[smtplib.SMTP]:
    with serving(mailbox) as port, smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        yield client


def test_before_any_mail_it_says_that_there_is_none(home: Path) -> None:
    assert mail().output == "No mail has arrived yet.\n"
    assert mail("--json").output == ""
    missing = mail("1")
    assert missing.exit_code == 1
    assert "why: There is no mail 1. `taskflow dev mail` lists them.\n" in missing.output


def test_where_no_dev_has_run_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in ([], ["--json"], ["1"]):
        refused = mail(*arguments)
        assert refused.exit_code == 1
        assert f"No `taskflow dev` has run here: there is no directory {tmp_path / '.taskflow'}." in refused.output


def test_what_was_sent_is_listed_and_shown_with_its_envelope(home: Path, smtp: smtplib.SMTP) -> None:
    smtp.send_message(message(), to_addrs=[TO, "hidden@example.com"])
    made = message("Grüße", "Text\n")
    made.add_alternative("<p>Text</p>", subtype="html")
    made.add_attachment(b"12345", maintype="application", subtype="pdf", filename="bill.pdf")
    smtp.send_message(made)

    header, latest, first = mail().output.splitlines()
    assert header.split() == ["number", "arrived", "from", "to", "subject"]
    assert latest.split()[0] == "2"
    assert latest.endswith("Grüße")
    assert first.split("\t")[-2:] == [f"{TO},hidden@example.com", "hello"]

    shown = mail("1").output
    assert "Subject: hello\n" in shown
    assert f"(delivered to: {TO}, hidden@example.com)\n\nfirst line\nsecond\n" in shown
    assert "[attached: bill.pdf, application/pdf, 5 bytes]" in mail("2").output

    found = json.loads(mail("2", "--json").output)
    assert found["envelope"] == {"from": "shop@example.com", "to": [TO]}
    assert (found["subject"], found["text"].split(), found["html"].split()) == ("Grüße", ["Text"], ["<p>Text</p>"])
    assert found["attachments"] == [{"filename": "bill.pdf", "content_type": "application/pdf", "size_bytes": 5}]
    assert ["To", TO] in found["headers"]
    assert [json.loads(line)["number"] for line in mail("--json").output.splitlines()] == [2, 1]
    assert mail("1", "--source").output.startswith("X-Envelope-From: shop@example.com")
    assert mail("--source").exit_code == 2


def test_another_directory_is_named_before_or_behind(home: Path, tmp_path: Path) -> None:
    Mailbox.of(tmp_path / "other").directory.mkdir(parents=True)
    Mailbox.of(tmp_path / "other").add("a@b", [TO], message().as_bytes())
    assert "hello" in mail("--directory", "other").output
    before = CliRunner().invoke(main, ["dev", "--directory", "other", "mail"], prog_name="taskflow")
    assert "hello" in before.output


def test_a_terminal_does_not_obey_what_stands_in_a_mail(mailbox: Mailbox) -> None:
    mailbox.add("a@b", [TO], b"Subject: \x1b]0;owned\x07\xc2\x9b\r\n\r\n\x1b[2Jtext\r\n")
    for output in (mail().output, mail("1").output):
        assert not {"\x1b", "\x07", "\x9b"} & set(output)


def test_a_mail_that_cannot_be_kept_is_not_taken(mailbox: Mailbox, smtp: smtplib.SMTP) -> None:
    mailbox.directory.write_text("in the way")
    with pytest.raises(smtplib.SMTPDataError, match="452"):
        smtp.send_message(message())


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"no header at all", b"Content-Type: text/plain; charset=nope\r\n\r\nx"]
)
def test_a_mail_that_is_none_can_be_shown(mailbox: Mailbox, content: bytes) -> None:
    mailbox.add("", [TO], content)
    for arguments in ([], ["1"], ["1", "--json"], ["1", "--source"]):
        assert mail(*arguments).exit_code == 0


def test_the_oldest_make_room(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev_mailbox, "MOST_MAILS", 3)
    for number in range(5):
        assert mailbox.add("a@b", [TO], f"Subject: {number}\r\n\r\n".encode()) == number + 1
    assert [found.number for found in mailbox.mails()] == [5, 4, 3]

    monkeypatch.setattr(dev_mailbox, "MOST_BYTES", 10_000)
    mailbox.add("a@b", [TO], b"Subject: large\r\n\r\n" + b"x" * 9_000)
    mailbox.add("a@b", [TO], b"Subject: larger\r\n\r\n" + b"x" * 20_000)
    assert [found.subject for found in mailbox.mails()] == ["larger"]


def test_a_fresh_start_drops_what_was_caught(mailbox: Mailbox, home: Path) -> None:
    mailbox.add("a@b", [TO], b"")
    with outgoing(load(), home, fresh=False):
        assert len(list(mailbox.mails())) == 1
    with outgoing(load(), home.parent / "other", fresh=False) as smtp:
        assert f"taskflow dev mail --directory {home.parent / 'other'} shows it" in smtp.shown
    with outgoing(load(), home, fresh=True):
        assert list(mailbox.mails()) == []


def test_the_environment_leads_to_the_mailbox_and_names_a_sender(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_SMTP_USER", "left-over")
    with outgoing(load(), home, fresh=False) as smtp:
        for name, value in smtp.environment.items():
            monkeypatch.setenv(name, value)
        settings = load()
        assert (settings.smtp_host, settings.smtp_tls, settings.smtp_user) == ("127.0.0.1", "off", "")
        assert f"{settings.smtp_host}:{settings.smtp_port}" in smtp.shown
        assert smtp.shown.endswith(": taskflow dev mail shows it")
        assert settings.email_from == "taskflow@localhost"
        smtplib.SMTP("127.0.0.1", settings.smtp_port, timeout=10).quit()
    with pytest.raises(ConnectionRefusedError):
        smtplib.SMTP("127.0.0.1", settings.smtp_port, timeout=10)


def test_a_server_of_the_settings_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_SMTP_HOST", "mail.example")
    with outgoing(load(), home, fresh=False) as smtp:
        assert (smtp.shown, smtp.environment) == ("goes out through mail.example", {})


def test_without_aiosmtpd_it_runs_and_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiosmtpd.smtp", None)
    with outgoing(load(), home, fresh=False) as smtp:
        assert "pip install 'taskflow-pg[embedded]'" in smtp.shown
        assert smtp.environment == {}
