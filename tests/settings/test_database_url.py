"""Connection strings as platforms write them, and TLS for hosts that are remote."""

from __future__ import annotations

import pytest

from taskflow.errors import SettingsError
from taskflow.settings import load
from taskflow.settings.database_url import is_remote, normalised


@pytest.fixture(autouse=True)
def _nothing_of_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGSERVICE", "PGHOST", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg", "Postgres"]
)
def test_every_scheme_becomes_that_of_libpq(scheme: str) -> None:
    assert normalised(f"{scheme}://u:p@localhost/d") == "postgresql://u:p@localhost/d"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.com/d",
        "postgresql://u:p@db.example.com:6543/d?application_name=x",
        "postgresql://u:p%3F@8.8.8.8/d",
        "postgresql://u@localhost,db.example.com/d",
        "postgresql://u@/d?host=db.example.com",
        "host=db.example.com dbname=d password='a://b'",
    ],
)
def test_a_remote_host_is_spoken_to_with_tls(url: str) -> None:
    joint = " " if not url.startswith("postgresql:") else "&" if "?" in url else "?"
    assert normalised(url) == f"{url}{joint}sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgresql:///d",
        "postgresql://u@localhost/d",
        "postgresql://u@127.0.0.1/d",
        "postgresql://u@[::1]/d",
        "postgresql://u@/d?host=/var/run/postgresql",
        "postgresql://u@db/d",
        "postgresql://u@10.1.2.3/d",
        "postgresql://u@db.example.com/d?sslmode=disable",
        "postgresql://u@db.example.com/d?sslmode=verify-full&sslrootcert=system",
        "postgresql://u@db.example.com/d?sslrootcert=system",
        "host=db.example.com sslmode=prefer",
        "service=mine",
        "what is this",
    ],
)
def test_what_is_near_or_says_how_itself_is_left_as_it_is(url: str) -> None:
    assert normalised(url) == url


def test_what_the_environment_of_libpq_says_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example.com")
    assert normalised("postgresql:///d") == "postgresql:///d?sslmode=require"
    monkeypatch.setenv("PGSSLMODE", "prefer")
    assert normalised("postgresql:///d") == "postgresql:///d"


@pytest.mark.parametrize(
    ("host", "remote"),
    [
        ("db.example.com", True), ("ec2-1-2-3-4.compute-1.amazonaws.com", True), ("8.8.8.8", True), ("2600::1", True),
        ("db.production", True), ("db.example.com.", True),
        ("", False), ("/tmp", False), ("@abstract", False), ("localhost", False), ("LOCALHOST", False), ("db", False),
        ("127.0.0.9", False), ("::1", False), ("10.0.0.1", False), ("172.16.0.1", False), ("192.168.1.1", False),
        ("169.254.1.1", False), ("100.64.0.7", False), ("fd00::1", False), ("fe80::1%eth0", False),
        ("postgres.railway.internal", False), ("db.default.svc.cluster.local", False), ("db.default.svc", False),
        ("mac.local", False), ("app-db.flycast", False),
    ],
)  # fmt: skip
def test_which_hosts_are_remote(host: str, remote: bool) -> None:
    assert is_remote(host) is remote


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top@secretTAIL@127.0.0.1:1/x",
        "postgres://u:top@secretTAIL@db.example.com/x",
        "postgresql+psycopg://u@secretTAIL:top@h/x",
        "postgresql://u:top@secretTAIL@h1,h2/x",
        "postgresql://u:top@@secretTAIL@h",
    ],
)
@pytest.mark.parametrize("name", ["database_url", "export_database_url"])
def test_an_at_within_a_password_has_to_be_encoded_and_is_not_repeated(url: str, name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(**{name: url})
    assert caught.value.problems == (
        f"TASKFLOW_{name.upper()}: has an @ within the user or the password: write that one as %40",
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top%40secret@127.0.0.1:1/x",
        "postgresql://u@h/x@y",
        "postgresql://u@/x?host=@abstract",
        "postgresql://u@h/x?application_name=a@b",
        "host=/tmp user=u@domain password=a@b@c",
        "u:top@secret@h",
    ],
)
def test_an_at_elsewhere_is_left_as_it_is(url: str) -> None:
    assert load(database_url=url).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top/secretTAIL@127.0.0.1:1/x",
        "postgres://u:12/secretTAIL@db.example.com/x",
        "postgresql+psycopg://u:/secretTAIL@h/x?sslmode=disable",
    ],
)
@pytest.mark.parametrize("name", ["database_url", "export_database_url"])
def test_a_slash_within_a_password_has_to_be_encoded_and_is_not_repeated(url: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"TASKFLOW_{name.upper()}: has a / within .* as %2F") as caught:
        load(**{name: url})
    assert "secretTAIL" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top@secret/TAIL@127.0.0.1:1/x",
        "postgres://u:top@secret/TAIL@db.example.com/x",
        "postgresql+psycopg://u:top@secret/TAIL@h:5432",
        "postgresql://u:top@se@cret/TA/IL@h/x?sslmode=disable",
    ],
)
@pytest.mark.parametrize("name", ["database_url", "export_database_url"])
def test_an_at_and_a_slash_within_a_password_have_to_be_encoded_and_are_not_repeated(url: str, name: str) -> None:
    with pytest.raises(SettingsError, match=f"TASKFLOW_{name.upper()}: has an @ .*%40") as caught:
        load(**{name: url})
    assert "TAIL" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:top%2Fsecret@127.0.0.1:1/x",
        "postgresql://h:5432/x?application_name=a/b@c",
        "postgresql://[::1]/x@y",
        "postgresql://h:5432/x%40y",
        "postgresql://u:p@h/x@y",
        "postgresql://u:p@h/x%40y/z?application_name=a@b/c",
        "host=/tmp user=u@domain password=a:b/c@d",
    ],
)
def test_a_slash_elsewhere_is_left_as_it_is(url: str) -> None:
    assert load(database_url=url).database_url == url
