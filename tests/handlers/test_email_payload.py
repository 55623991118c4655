"""What a payload of the email type may be, and what is refused."""

from __future__ import annotations

import base64

import jsonschema
import pytest

from taskflow.errors import InvalidPayload
from taskflow.tasks.registry import registry

ANN, BOB, CAT = "ann@example.com", "bob@example.com", "cat@example.com"

INJECTIONS = [
    {"to": f"{ANN}\r\nBcc: {CAT}"},
    {"to": [f"Ann\nBcc: x@example.com <{ANN}>"]},
    {"to": f"{ANN}\n"},
    {"cc": f"{ANN}\r\nX: y"},
    {"bcc": f"{ANN}\rX: y"},
    {"from": f"{ANN}\r\nX: y"},
    {"reply_to": f"{ANN}\r\nX: y"},
    {"subject": "a\r\nBcc: x@example.com"},
    {"subject": "a\n"},
    {"subject": "a\u2028b"},
    {"subject": "a\x85b"},
    {"subject": "=?utf-8?q?a=0D=0ABcc=3A_x=40example=2Ecom?="},
    {"headers": {"X-A": "a\r\nBcc: x@example.com"}},
    {"headers": {"X-A\r\nBcc": "x@example.com"}},
    {"headers": {"X-A:": "x"}},
    {"attachments": [{"filename": "a\r\nX: y", "content": ""}]},
    {"attachments": [{"filename": "a", "content": "", "content_type": "text/plain\r\nX: y"}]},
]


@pytest.mark.parametrize("fields", INJECTIONS, ids=repr)
def test_no_field_can_add_a_header(run, server, fields) -> None:
    with pytest.raises(InvalidPayload) as caught:
        run("email", {"to": ANN, **fields})
    assert {problem.pointer.split("/")[1] for problem in caught.value.problems} == set(fields)
    assert server.asked == []


@pytest.mark.parametrize("fields", INJECTIONS, ids=repr)
def test_the_api_refuses_those_as_well(fields) -> None:
    validator = jsonschema.Draft202012Validator(registry.get("email").payload_schema())
    assert validator.is_valid({"to": ANN, "cc": [f"Ann <{ANN}>"], "subject": "Grüße", "headers": {"X-A": "a b"}})
    (problem,) = validator.iter_errors({"to": ANN, **fields})
    assert problem.absolute_path[0] == next(iter(fields))


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@exa mple.com",
        "ann@-a.example",
        "ann@a..example",
        "a..b@example.com",
        ".a@example.com",
        "ann@example.com, bob@example.com",
        "ann@example.com; bob@example.com",
        "Ann <ann@example.com> <bob@example.com>",
        "Ann <ann@example.com",
        "undisclosed-recipients:;",
        "a@b@example.com",
        "a<b@example.com",
        f"{'a' * 65}@example.com",
        f"ann@{'a' * 64}.example",
        "ann@\ud7ff\u0378.example",
        7,
        None,
        {},
    ],
)
def test_only_sound_addresses_are_accepted(run, server, address) -> None:
    for payload in ({"to": address}, {"to": [ANN, address]}):
        with pytest.raises(InvalidPayload):
            run("email", payload)
    assert server.asked == []


def test_quoted_names_may_have_commas(run, server) -> None:
    run("email", {"to": f'"Doe, \\"Ann\\"" <{ANN}>'})
    (address,) = server.got[0].message["To"].addresses
    assert (address.display_name, address.addr_spec) == ('Doe, "Ann"', ANN)


@pytest.mark.parametrize(
    "fields",
    [
        {"to": []},
        {"to": [ANN] * 101},
        {"to": [ANN] * 60, "bcc": [BOB] * 41},
        {"to": [ANN] * 60, "cc": [BOB] * 41},
        {"to": [ANN] * 60, "cc": [BOB] * 30, "bcc": [BOB] * 11},
        {"body": "a", "text": "a"},
        {"body": 7},
        {"subject": None},
        {"subject": "x" * 2001},
        {"headers": {"Bcc": ANN}},
        {"headers": {"message-id": "<a@b>"}},
        {"headers": {"Content-Type": "text/html"}},
        {"headers": {"Resent-To": ANN}},
        {"headers": {"x-a": "1", "X-A": "2"}},
        {"attachments": [{"filename": "a", "content": "no base64!"}]},
        {"attachments": [{"filename": "", "content": ""}]},
        {"attachments": [{"filename": "a", "content": "", "content_type": "message/rfc822"}]},
        {"attachments": [{"filename": "a", "content": base64.b64encode(bytes(6 * 2**20)).decode()}] * 2},
        {"sender": ANN},
        {"template": "x"},
    ],
    ids=lambda fields: repr(fields)[:60],
)
def test_fields_that_are_unknown_wrong_or_at_odds_are_refused(run, server, fields) -> None:
    with pytest.raises(InvalidPayload):
        run("email", {"to": ANN, **fields})
    assert server.asked == []
