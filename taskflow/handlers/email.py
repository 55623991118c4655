"""`email`: one mail by SMTP, retried by what the server says, and never sent again to whom it has reached."""

from __future__ import annotations

from typing import Any

from taskflow import Context, DeadLetter, task
from taskflow.handlers._earlier_deliveries import remember, served_before
from taskflow.handlers._email_payload import Email
from taskflow.handlers._mail_message import Mail, mail_of
from taskflow.handlers._smtp import Delivery, EmailFailed, Reply, deliver
from taskflow.settings import process_settings

NO_SERVER = "no SMTP server is configured: set TASKFLOW_SMTP_HOST for the worker, and retry the task"
NO_SENDER = "the mail has no sender: give `from` in the payload, or set TASKFLOW_EMAIL_FROM for the worker"


@task("email")
def email(payload: Email, context: Context) -> dict[str, Any]:
    """Hand the mail to the SMTP server; return ``{"message_id", "accepted", "refused"}``.

    `refused` has the recipients that the server refused for good, with its replies; the task succeeds if it took the
    mail for any. Where some have to wait, the attempt fails, and the next one asks for those alone.
    The Message-ID is the same in every attempt: a mail that came twice, since its acceptance was lost, shows it.

    Raises `DeadLetter` for what no retry mends, `EmailFailed` for the rest.
    """
    if not process_settings().smtp_host:
        raise DeadLetter(NO_SERVER)
    mail = _mail(payload, context)
    # Alone, one is either served, and the task has succeeded, or not.
    served = served_before(context, mail.key) if len(mail.recipients) > 1 else frozenset()
    context.heartbeat()
    delivery = deliver(process_settings(), mail, [one for one in mail.recipients if one not in served])
    accepted = [one for one in mail.recipients if one in served or one in delivery.accepted]
    if waiting := {one: reply for one, reply in delivery.refused.items() if not reply.is_final}:
        if accepted:
            remember(context, mail.key, accepted, waiting)
        raise EmailFailed(_in_words("the SMTP server takes the mail later for", waiting, accepted))
    if not accepted:
        raise DeadLetter(_in_words("the SMTP server refused every recipient:", delivery.refused, accepted))
    return {"message_id": mail.message_id, "accepted": accepted, "refused": _listed(delivery)}


def _mail(payload: Email, context: Context) -> Mail:
    sender = payload.sender or process_settings().email_from
    if not sender:
        raise DeadLetter(NO_SENDER)
    try:
        return mail_of(payload, sender, context.task_id)
    except ValueError as error:  # the payload's addresses are checked: it is the setting
        raise DeadLetter(f"TASKFLOW_EMAIL_FROM of the worker cannot be a sender: {error}") from None


def _listed(delivery: Delivery) -> list[dict[str, Any]]:
    return [
        {"address": address, "code": reply.code, "reply": reply.text} for address, reply in delivery.refused.items()
    ]


def _in_words(beginning: str, replies: dict[str, Reply], accepted: list[str]) -> str:
    shown = "; ".join(f"{address} ({reply})" for address, reply in list(replies.items())[:5])
    more = f" and {len(replies) - 5} more" if len(replies) > 5 else ""
    rest = f"; {len(accepted)} have it, and are not sent it again" if accepted else ""
    return f"{beginning} {shown}{more}{rest}"
