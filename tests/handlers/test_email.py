"""The email type against a real SMTP server on the loopback interface."""

from __future__ import annotations

import base64
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from taskflow.errors import DeadLetter, SettingsError, Signal
from taskflow.handlers import _smtp
from taskflow.handlers._smtp import EmailFailed
from taskflow.settings import load
from taskflow.tasks.registry import registry
from tests.handlers.certificates import Authority
from tests.handlers.smtp_server import MailServer, serving
from tests.worker.conftest import Bench, Connection

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"
PASSWORD = "right-password"
Configure = Callable[..., None]
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")


@pytest.fixture
def bench(dsn: str, connection: Connection) -> Iterator[Bench]:
    """Its worker has the rights of a worker and no more."""
    connection.execute("CREATE ROLE a_mailing_worker LOGIN IN ROLE taskflow_worker")
    yield Bench(make_conninfo(dsn, user="a_mailing_worker"), connection)
    connection.execute("DROP ROLE a_mailing_worker")


# what is sent


def test_an_address_is_enough(run, server) -> None:
    result = run("email", {"to": ANN})
    (got,) = server.got
    assert (got.sender, got.recipients) == ("shop@example.com", [ANN])
    assert result == {"message_id": got.message["Message-ID"], "accepted": [ANN], "refused": []}
    assert got.message["From"] == "Shop <shop@example.com>"
    assert got.message["Date"]
    assert "Subject" not in got.message


@pytest.mark.parametrize("name", ["body", "text"])
def test_the_text_is_body_or_text(run, server, name) -> None:
    text = "Grüße,\r\n.\n..\nFrom here\n" + "x" * 2000
    run("email", {"to": ANN, "subject": "Prüfung: ü " + "w" * 200, name: text})
    message = server.got[0].message
    assert message["Subject"] == "Prüfung: ü " + "w" * 200
    assert message.get_content().replace("\r\n", "\n").rstrip("\n") == text.replace("\r\n", "\n")
    assert max(map(len, server.got[0].content.split(b"\r\n"))) <= 998
    assert server.got[0].content.isascii()


def test_html_stands_beside_the_text_or_alone(run, server) -> None:
    run("email", {"to": ANN, "text": "plain", "html": "<b>ü</b>"})
    run("email", {"to": ANN, "html": "<b>ü</b>"})
    both, alone = (got.message for got in server.got)
    assert both.get_content_type() == "multipart/alternative"
    assert both.get_body(("plain",)).get_content().split() == ["plain"]
    assert both.get_body(("html",)).get_content().split() == ["<b>ü</b>"]
    assert (alone.get_content_type(), alone.get_content().split()) == ("text/html", ["<b>ü</b>"])


def test_attachments_arrive_as_they_were(run, server) -> None:
    content = bytes(range(256)) * 10
    attachment = {"filename": 'Prüf "1".pdf', "content": base64.encodebytes(content).decode()}
    run("email", {"to": ANN, "text": "see", "attachments": [{**attachment, "content_type": "application/pdf"}]})
    (part,) = server.got[0].message.iter_attachments()
    assert (part.get_content_type(), part.get_filename()) == ("application/pdf", 'Prüf "1".pdf')
    assert part.get_content() == content


def test_everybody_is_served_and_bcc_stands_nowhere_in_the_mail(run, server) -> None:
    run("email", {"to": [f"Ann <{ANN}>", ANN], "cc": BOB, "bcc": [CAT], "reply_to": "help@example.com"})
    (got,) = server.got
    assert got.recipients == [ANN, BOB, CAT]
    assert (got.message["To"], got.message["Cc"]) == (f"Ann <{ANN}>, {ANN}", BOB)
    assert got.message["Reply-To"] == "help@example.com"
    assert b"cat@" not in got.content.lower()
    assert b"bcc" not in got.content.lower()


def test_the_sender_of_the_payload_wins_and_further_headers_arrive_unharmed(run, server) -> None:
    link = f"<https://example.com/{'u' * 200}>"
    run("email", {"to": ANN, "from": "Käthe <k@example.org>", "headers": {"List-Unsubscribe": link, "X-A": "ü"}})
    (got,) = server.got
    assert got.sender == "k@example.org"
    assert (got.message["From"], got.message["X-A"]) == ("Käthe <k@example.org>", "ü")
    assert f"List-Unsubscribe: {link}\r\n".encode() in got.content


def test_a_retry_has_the_same_message_id_and_another_mail_has_another(run, server) -> None:
    first, again, other = (
        run("email", payload, number=number)["message_id"]
        for payload, number in (({"to": ANN}, 1), ({"to": ANN}, 2), ({"to": ANN, "text": "x"}, 1))
    )
    assert first == again
    assert first.startswith("<taskflow.4711.")
    assert first.endswith("@example.com>")
    assert other != first


def test_who_gets_a_hidden_copy_cannot_be_found_out_by_the_message_id(run, server) -> None:
    assert run("email", {"to": ANN})["message_id"] == run("email", {"to": ANN, "bcc": BOB})["message_id"]


def test_a_domain_in_other_letters_needs_nothing_special(run, configure) -> None:
    with serving(MailServer(), enable_SMTPUTF8=False) as server:
        configure(server)
        run("email", {"to": "Jörg <j@bücher.example>"})
    assert server.got[0].recipients == ["j@xn--bcher-kva.example"]
    assert server.got[0].content.isascii()


def test_a_name_in_other_letters_goes_to_a_server_with_smtputf8(run, server) -> None:
    run("email", {"to": "jörg@example.com", "subject": "ü"})
    assert server.got[0].recipients == ["jörg@example.com"]
    assert "To: jörg@example.com".encode() in server.got[0].content


def test_a_name_in_other_letters_is_final_at_a_server_without_smtputf8(run, configure) -> None:
    with serving(MailServer(), enable_SMTPUTF8=False) as server:
        configure(server)
        with pytest.raises(DeadLetter, match="has no SMTPUTF8"):
            run("email", {"to": "jörg@example.com"})
    assert server.got == []


# encryption and login


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> Authority:
    """An authority that the worker trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


def test_starttls_and_login(run, configure, trusted: Authority) -> None:
    context = trusted.server_context("localhost")
    with serving(MailServer(), starttls=context, require_starttls=True, auth_required=True) as server:
        configure(server, SMTP_HOST="localhost", SMTP_TLS="starttls", SMTP_USER="shop", SMTP_PASSWORD=PASSWORD)
        run("email", {"to": ANN})
    assert server.logins == [("shop", PASSWORD)]
    assert len(server.got) == 1


def test_tls_from_the_first_byte(run, configure, trusted: Authority) -> None:
    with serving(MailServer(), tls=trusted.server_context("localhost")) as server:
        configure(server, SMTP_HOST="localhost", SMTP_TLS="tls")
        run("email", {"to": ANN})
    assert len(server.got) == 1


@pytest.mark.parametrize("tls", ["tls", "starttls"])
@pytest.mark.parametrize(
    ("host", "known", "reason"), [("localhost", False, "issuer certificate"), ("127.0.0.1", True, "127.0.0.1")]
)
def test_a_certificate_of_an_unknown_authority_or_for_another_name_gets_no_mail(
    run, configure, trusted: Authority, monkeypatch: pytest.MonkeyPatch, tls: str, host: str, known: bool, reason: str
) -> None:
    if not known:
        monkeypatch.delenv("SSL_CERT_FILE")
    with serving(MailServer(), **{tls: trusted.server_context("localhost")}) as server:
        configure(server, SMTP_HOST=host, SMTP_TLS=tls)
        with pytest.raises(EmailFailed, match=rf"certificate that is not trusted: .*{reason}.*SSL_CERT_FILE"):
            run("email", {"to": ANN})
    assert server.got == []


def test_a_server_without_starttls_gets_no_mail_and_the_error_says_what_to_set(run, server, configure) -> None:
    configure(server, SMTP_TLS="starttls")
    with pytest.raises(DeadLetter, match="has no STARTTLS: set TASKFLOW_SMTP_TLS"):
        run("email", {"to": ANN})
    assert server.got == []


def test_a_server_that_does_not_speak_tls_is_told_from_one_that_is_down(run, server, configure) -> None:
    configure(server, SMTP_TLS="tls")
    with pytest.raises(EmailFailed, match=r"does not speak TLS as expected .*TASKFLOW_SMTP_TLS"):
        run("email", {"to": ANN})


def test_a_wrong_login_is_final_says_what_to_check_and_shows_no_password(run, configure) -> None:
    with serving(MailServer(quote_login=True), auth_required=True) as server:
        configure(server, SMTP_USER="shop", SMTP_PASSWORD="wr0ng-password")
        with pytest.raises(DeadLetter, match=r"refused the login: 535 .*check TASKFLOW_SMTP_USER") as caught:
            run("email", {"to": ANN})
    assert server.logins
    shown = "".join(traceback.format_exception(caught.value))
    for secret in ("wr0ng-password", base64.b64encode(b"wr0ng-password").decode()):
        assert secret not in shown
    assert "[redacted]" in shown
    assert "wr0ng-password" not in repr(load())


@pytest.mark.parametrize("offer", [{"auth_require_tls": True}, {"auth_exclude_mechanism": ["LOGIN", "PLAIN"]}])
def test_a_login_that_the_server_does_not_offer_is_final(run, configure, offer: dict[str, Any]) -> None:
    with serving(MailServer(), **offer) as server:
        configure(server, SMTP_USER="shop", SMTP_PASSWORD=PASSWORD)
        with pytest.raises(DeadLetter, match=r"offers no login with a password .*unset TASKFLOW_SMTP_USER"):
            run("email", {"to": ANN})
    assert server.got == []


# errors


def test_without_a_server_the_task_is_final_and_names_the_setting(run, configure) -> None:
    configure()
    with pytest.raises(DeadLetter, match="TASKFLOW_SMTP_HOST"):
        run("email", {"to": ANN})


def test_a_sender_of_the_settings_that_is_none_is_final_and_names_the_setting(run, server, configure) -> None:
    configure(server, EMAIL_FROM="shop@-.example")
    with pytest.raises(DeadLetter, match="TASKFLOW_EMAIL_FROM of the worker cannot be a sender"):
        run("email", {"to": ANN})


def test_without_a_sender_the_task_is_final_and_names_the_setting(run, server, configure) -> None:
    configure(server, EMAIL_FROM="")
    with pytest.raises(DeadLetter, match="TASKFLOW_EMAIL_FROM"):
        run("email", {"to": ANN})


@pytest.mark.parametrize("step", ["MAIL", "DATA", ANN])
def test_a_reply_of_4xx_is_left_to_the_policy(run, server, step) -> None:
    server.replies[step] = "451 4.3.0 try \x1b[31m again"
    with pytest.raises(EmailFailed, match=r"451 4\.3\.0 try \[31m again") as caught:
        run("email", {"to": ANN})
    assert not isinstance(caught.value, Signal)


@pytest.mark.parametrize("step", ["MAIL", "DATA", ANN])
def test_a_reply_of_5xx_is_final(run, server, step) -> None:
    server.replies[step] = "554 5.7.1 we do not like you"
    with pytest.raises(DeadLetter, match=r"554 5\.7\.1 we do not like you"):
        run("email", {"to": ANN})
    assert server.got == []


@pytest.mark.parametrize("step", ["MAIL", "DATA", ANN])
def test_a_connection_that_is_lost_before_the_mail_was_taken_is_left_to_the_policy(run, server, step) -> None:
    server.drops = step
    with pytest.raises(EmailFailed, match="closed the connection"):
        run("email", {"to": [ANN, BOB]})


def test_a_server_that_closes_for_maintenance_while_it_is_asked_about_recipients_gets_them_again(run, server) -> None:
    server.replies[BOB] = "421 4.3.2 closing"
    with pytest.raises(EmailFailed, match="later for") as caught:
        run("email", {"to": [ANN, BOB, CAT]})
    assert all(address in str(caught.value) for address in (ANN, BOB, CAT))
    assert server.got == []


def test_a_server_that_says_nothing_is_given_up(run, configure) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        configure(MailServer(silent.getsockname()[1]), SMTP_TIMEOUT="0.2")
        with pytest.raises(EmailFailed, match=r"no answer within 0\.2 seconds"):
            run("email", {"to": ANN})


def test_a_server_that_is_down_is_left_to_the_policy(run, configure) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        configure(MailServer(closed.getsockname()[1]))
        with pytest.raises(EmailFailed, match="cannot be reached: Connection refused"):
            run("email", {"to": ANN})


def test_what_goes_wrong_after_the_mail_was_taken_does_not_send_it_again(
    run, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_smtp, "GOODBYE_SECONDS", 0.2)
    taken = threading.Event()

    class Stubborn(MailServer):
        async def handle_QUIT(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802
            taken.set()
            return "500 no"

    with serving(Stubborn()) as stubborn:
        monkeypatch.setenv("TASKFLOW_SMTP_PORT", str(stubborn.port))
        assert run("email", {"to": ANN})["accepted"] == [ANN]
    assert taken.is_set()


# some recipients refused


def test_recipients_that_are_refused_for_good_are_in_the_result(run, server) -> None:
    server.replies[BOB] = "550 5.1.1 nobody here"
    result = run("email", {"to": [ANN, BOB]})
    assert result["accepted"] == [ANN]
    assert result["refused"] == [{"address": BOB, "code": 550, "reply": "5.1.1 nobody here"}]
    assert server.got[0].recipients == [ANN]


def test_if_all_recipients_are_refused_for_good_the_task_is_final(run, server) -> None:
    server.replies |= {ANN: "550 gone", BOB: "553 never was"}
    with pytest.raises(DeadLetter, match=f"every recipient: {ANN} .550 gone.; {BOB} .553 never was."):
        run("email", {"to": [ANN, BOB]})


def test_if_one_of_the_refused_may_pass_later_the_task_is_retried(run, server) -> None:
    server.replies |= {ANN: "550 gone", BOB: "450 busy"}
    with pytest.raises(EmailFailed):
        run("email", {"to": [ANN, BOB]})


def test_who_has_the_mail_is_not_sent_it_again_by_a_retry_for_the_others_but_is_when_somebody_retries_it(
    bench, server
) -> None:
    server.replies[BOB] = "450 4.2.0 greylisted"
    bench.registry.add(registry.get("email"))
    payload = f'{{"to": ["{ANN}", "{BOB}", "{CAT}"]}}'
    task_id = bench.enqueue("email", payload, max_attempts=50, retry_strategy="fixed", retry_delay=0.05)
    with bench.worker():
        bench.wait(lambda: len(server.asked) > 3)
        server.replies.clear()
        state, result = bench.ended(task_id, "result")
        assert state == "completed"
        assert result["accepted"] == [ANN, BOB, CAT]
        assert [got.recipients for got in server.got] == [[ANN, CAT], [BOB]]
        assert len({got.message["Message-ID"] for got in server.got}) == 1
        assert f"{BOB} (450 4.2.0 greylisted); 2 have it" in bench.executions(task_id)[0][2]

        bench.connection.execute("SELECT taskflow.retry_task(%s)", (task_id,))
        bench.wait(lambda: len(server.got) > 2)
    assert server.got[2].recipients == [ANN, BOB, CAT]


# settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SMTP_HOST": "smtp://mail.example"}, "TASKFLOW_SMTP_HOST"),
        ({"SMTP_HOST": "mail.example:587"}, "TASKFLOW_SMTP_PORT"),
        ({"SMTP_TLS": "ssl"}, "TASKFLOW_SMTP_TLS"),
        ({"EMAIL_FROM": "shop"}, "TASKFLOW_EMAIL_FROM"),
        ({"EMAIL_FROM": "shop@example.com\nBcc: x@example.com"}, "TASKFLOW_EMAIL_FROM"),
        ({"SMTP_PASSWORD": "pässword", "SMTP_USER": "shop"}, "TASKFLOW_SMTP_PASSWORD"),
        ({"SMTP_HOST": "mail.example", "SMTP_TLS": "off", "SMTP_USER": "shop"}, "TASKFLOW_SMTP_TLS to starttls"),
    ],
)
def test_settings_that_cannot_work_are_refused_at_start_without_quoting_them(configure, settings, named) -> None:
    configure(**settings)
    with pytest.raises(SettingsError, match=named) as caught:
        load()
    assert "pässword" not in str(caught.value)


@pytest.mark.parametrize(("tls", "port"), [("off", 25), ("starttls", 587), ("tls", 465)])
def test_the_port_follows_from_the_encryption(configure, tls, port) -> None:
    configure(SMTP_HOST="[::1]", SMTP_TLS=tls.upper())
    assert (load().smtp_host, _smtp._port(load())) == ("::1", port)
