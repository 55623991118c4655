from __future__ import annotations

from datetime import timedelta

import pytest

from taskflow import RegistrationError
from taskflow.tasks.registry import Handler, Registry, registry, task
from taskflow.tasks.retry import RetryPolicy


@pytest.fixture
def types():
    return Registry()


def test_a_handler_is_found_by_its_type(types):
    @task("mail", registry=types)
    def send(payload):
        return payload

    assert types.get("mail") is send
    assert types.get("post") is None
    assert types.types() == ("mail",)
    assert list(types) == [send]
    assert len(types) == 1


def test_without_a_name_the_type_is_the_name_of_the_function(types):
    @task(registry=types)
    def send_mail(payload):
        return payload

    assert send_mail.type == "send_mail"


def test_the_bare_decorator_registers_in_the_default_registry(monkeypatch):
    monkeypatch.setattr(registry, "_handlers", {})

    @task
    def send_mail(payload):
        return payload

    assert registry.get("send_mail") is send_mail


def test_options_are_kept_in_their_stored_form(types):
    @task(
        "mail",
        queue="outbox",
        priority="high",
        max_attempts=3,
        timeout=timedelta(minutes=1),
        retry="linear",
        registry=types,
    )
    def send(payload): ...

    assert (send.queue, send.priority, send.max_attempts, send.timeout) == ("outbox", 2, 3, 60.0)
    assert send.retry == RetryPolicy("linear")
    assert send.isolation == "thread"


def test_options_that_are_not_given_are_left_to_the_queue(types):
    @task("mail", registry=types)
    def send(payload): ...

    assert (send.queue, send.priority, send.max_attempts, send.timeout, send.retry) == ("default", 1, None, None, None)


def test_two_handlers_of_one_type_are_refused_and_both_are_named(types):
    @task("mail", registry=types)
    def first(payload): ...

    with pytest.raises(RegistrationError, match=r"first and .*second"):

        @task("mail", registry=types)
        def second(payload): ...


def test_a_reloaded_module_may_declare_its_handlers_again(types):
    def declare():
        @task("mail", registry=types)
        def send(payload): ...

        return send

    declare()
    reloaded = declare()
    assert types.get("mail") is reloaded


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_retry": 3}, "no option 'max_retry'"),
        ({"que": "x"}, "did you mean 'queue'"),
        ({"colour": "red"}, "the options are"),
        ({"queue": "with space"}, "queue must be"),
        ({"priority": 9}, "priority must be"),
        ({"priority": "urgent"}, "low, normal, high, critical"),
        ({"max_attempts": 0}, "max_attempts must be"),
        ({"max_attempts": 1.5}, "max_attempts must be"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": -1}, "timeout must be"),
        ({"timeout": timedelta(days=31)}, "timeout must be"),
        ({"retry": "never"}, "retry strategy 'never'"),
        ({"retry": 5}, "retry must be"),
        ({"isolation": "vm"}, "isolation must be"),
    ],
)
def test_a_wrong_option_is_refused_with_what_would_be_right(types, options, said):
    with pytest.raises(RegistrationError, match=said):

        @task("mail", registry=types, **options)
        def send(payload): ...

    assert types.types() == ()


def test_a_type_that_cannot_be_stored_is_refused(types):
    for name in ("", "x" * 201, "a\x00b"):
        with pytest.raises(RegistrationError, match="type must be"):
            task(name, registry=types)(lambda payload: None)


def test_a_handler_says_what_it_is(types):
    @task("mail", registry=types)
    def send(payload):
        """Send a mail."""

    assert isinstance(send, Handler)
    assert "'mail'" in repr(send)
    assert send.__doc__ == "Send a mail."
    assert send.__name__ == "send"


@pytest.mark.parametrize("first", ["theirs", "ours"])
def test_a_handler_of_somebodys_own_takes_the_place_of_one_that_comes_along(types, first):
    def theirs(payload):
        return payload

    def ours(payload):
        return payload

    ours.__module__ = "taskflow.handlers.email"
    handlers = {"theirs": Handler("email", theirs), "ours": Handler("email", ours)}
    types.add(handlers.pop(first))
    types.add(*handlers.values())
    assert types.get("email").function is theirs
    types.add(Handler("mine", theirs))
    assert types.replaced() == ("email",)

    def rival(payload):
        return payload

    with pytest.raises(RegistrationError, match="two handlers for the type 'email'"):
        types.add(Handler("email", rival))
