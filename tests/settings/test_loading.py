"""Defaults give way to the file, the file to the environment, the environment to flags; all problems come at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from taskflow.errors import SettingsError
from taskflow.settings import Settings, load, resolve
from taskflow.settings.aliases import ALIASES


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """taskflow.toml in the current directory, not there yet."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "taskflow.toml"


def problems(**given: object) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(**given)
    return list(caught.value.problems)


def test_each_source_wins_over_the_one_before(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load().concurrency, load().processes, load().port) == (10, 1, 8080)
    file.write_text("concurrency = 20\nprocesses = 2\nport = 1001\n")
    monkeypatch.setenv("TASKFLOW_PROCESSES", "3")
    monkeypatch.setenv("TASKFLOW_PORT", "1002")

    settings = load(port=1003)

    assert (settings.concurrency, settings.processes, settings.port) == (20, 3, 1003)
    places = {name: found.where for name, found in resolve({"port": 1003}).found.items()}
    assert places == {"concurrency": "taskflow.toml:1", "processes": "TASKFLOW_PROCESSES", "port": "--port"}


def test_an_empty_variable_and_a_flag_that_was_not_given_say_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("concurrency = 20\n")
    monkeypatch.setenv("TASKFLOW_CONCURRENCY", "")
    assert load(concurrency=None).concurrency == 20


def test_the_file_can_be_elsewhere_and_then_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.toml"
    monkeypatch.setenv("TASKFLOW_CONFIG", str(path))
    assert problems() == [f"{path} (TASKFLOW_CONFIG): cannot be read: No such file or directory"]
    path.write_text('queues = ["mail", "images"]\nreject_unknown_types = true\npoll_interval = "500ms"\n')
    settings = load()
    assert (settings.queues, settings.reject_unknown_types) == (("mail", "images"), True)
    assert settings.poll_interval == 0.5


def test_every_problem_of_every_source_is_listed_at_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        'concurency = 5\n\nclaim_batch = 0\n[worker]\nprocesses = 2\n',
    )  # fmt: skip
    monkeypatch.setenv("TASKFLOW_AUTH", "maybe")
    monkeypatch.setenv("WORKER_BACKOFF_BASE", "soon")
    monkeypatch.setenv("SERVER_ADDR", "localhost")

    found = problems(port=70_000)

    assert found == [
        "taskflow.toml:1: there is no setting 'concurency'; did you mean 'concurrency'?",
        "taskflow.toml:4: there is no setting 'worker'; settings stand at the top of the file, below no [table]",
        "SERVER_ADDR: must be host:port, such as 127.0.0.1:8080, [::1]:8080, or :8080 for every address",
        "WORKER_BACKOFF_BASE: must be a number of seconds, or a duration such as 500ms, 10s, 2m, 1h30m or 7d. It is"
        " read as TASKFLOW_RETRY_DELAY.",
        "taskflow.toml:3: claim_batch: must be greater than or equal to 1",
        "--port: must be less than or equal to 65535",
        "TASKFLOW_AUTH: must be 'on' or 'off'",
    ]


def test_the_documented_name_of_a_variable_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:p@ss@h/d")
    assert problems() == ["DATABASE_URL: has an @ within the user or the password: write that one as %40"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("TASKFLOW_PORT = 1", "did you mean 'port'?"),
        ("max-payload-bytes = 1", "did you mean 'max_payload_bytes'?"),
        ('DATABASE_URL = "x"', "the key for DATABASE_URL is 'database_url'"),
        ("zebra = 1", "`taskflow config show` lists all"),
        ("concurrency = true", "true or false no value of it"),
        ("concurrency = ", "is no TOML file: Invalid value (at line 1, column 15)"),
        ("port = 1979-05-27", "port: "),
    ],
)
def test_a_mistake_in_the_file_names_its_place_and_the_way_out(file: Path, line: str, words: str) -> None:
    file.write_text(line + "\n")
    (problem,) = problems()
    assert problem.startswith("taskflow.toml")
    assert words in problem


def test_a_key_that_may_stand_in_several_lines_is_named_without_a_line(file: Path) -> None:
    file.write_text('admin_key = """\nport = 1\n"""\nport = "x"\n')
    assert problems() == ["taskflow.toml: port: must be a valid integer, unable to parse string as an integer"]


def test_a_directory_or_a_binary_is_no_file_of_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_CONFIG", str(tmp_path))
    assert "Is a directory" in problems()[0]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.setenv("TASKFLOW_CONFIG", str(tmp_path / "binary"))
    assert "is no TOML file" in problems()[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_directory_that_may_not_be_looked_into_has_no_file(file: Path) -> None:
    file.parent.chmod(0)
    try:
        assert load().port == 8080
    finally:
        file.parent.chmod(0o700)


def test_a_problem_never_repeats_the_value(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('max_payload_bytes = "s3cret"\nadmin_key = ["s3cret"]\n')
    monkeypatch.setenv("TASKFLOW_CONCURRENCY", "s3cret")
    found = problems(cors_origins="s3cret", poll_interval="s3cret")
    assert len(found) == 5
    assert "s3cret" not in "".join(found)


@pytest.mark.parametrize("text", ["mail default", "mail;default", "*", "mail,*", "q" * 101])
def test_names_that_no_queue_can_have_are_refused_wherever_they_are_from(
    file: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    rule = "must be names of queues with commas between them, each 1 to 100 letters, digits or any of . - _ :"
    assert problems(queues=text) == [f"--queues: {rule}"]
    monkeypatch.setenv("TASKFLOW_QUEUES", text)
    assert problems() == [f"TASKFLOW_QUEUES: {rule}"]
    monkeypatch.delenv("TASKFLOW_QUEUES")
    file.write_text(f'queues = ["{text}"]\n')
    assert problems() == [f"taskflow.toml:1: queues: {rule}"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("2m", 120), ("1h", 3600), ("7d", 604_800), ("1h30m", 5400), ("1.5s", 1.5), ("3", 3)],
)
def test_a_duration_may_have_a_unit(text: str, seconds: float) -> None:
    assert load(poll_interval=text).poll_interval == seconds


@pytest.mark.parametrize("text", ["", "0", "-1s", "10 s", "10S", "1x", "s", "inf", "nan", "1e999", "5s!", True])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert problems(poll_interval=text)[0].startswith("--poll-interval: ")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("DATABASE_URL", "postgres://u@localhost/d", {"database_url": "postgresql://u@localhost/d"}),
        ("POSTGRES_DSN", "host=/tmp dbname=d", {"database_url": "host=/tmp dbname=d"}),
        ("PORT", "81", {"port": 81}),
        ("HTTP_PORT", "81", {"port": 81}),
        ("SERVER_ADDR", "[::1]:81", {"host": "::1", "port": 81}),
        ("SERVER_ADDR", ":81", {"host": "0.0.0.0", "port": 81}),
        ("WEB_CONCURRENCY", "3", {"web_processes": 3}),
        ("WORKER_CONCURRENCY", "3", {"concurrency": 3}),
        ("WORKER_COUNT", "3", {"concurrency": 3}),
        ("WORKER_POLL_TIMEOUT", "500ms", {"poll_interval": 0.5}),
        ("WORKER_MAX_ATTEMPTS", "3", {"max_attempts": 3}),
        ("WORKER_BACKOFF_BASE", "2s", {"retry_delay": 2.0}),
        ("WORKER_BACKOFF_MAX", "2m", {"max_retry_delay": 120.0}),
        ("LOG_LEVEL", "WARN", {"log_level": "warning"}),
        ("TASKQUEUE_SERVER_PORT", "81", {"port": 81}),
        ("TASKQUEUE_WORKER_CONCURRENCY", "3", {"concurrency": 3}),
        ("TASKQUEUE_QUEUE_RETRYMAXATTEMPTS", "3", {"max_attempts": 3}),
        ("TASKQUEUE_QUEUE_MAXQUEUESIZE", "1000", {"max_depth": 1000}),
        ("TASKQUEUE_QUEUE_RATELIMITRPS", "50", {"rate_limit": 50.0}),
        (
            "TASKQUEUE_QUEUE_TASKRETENTIONDAYS",
            "14",
            dict.fromkeys(("retention_completed", "retention_ended", "retention_executions"), 14 * 86_400.0),
        ),
        ("TASKQUEUE_LOGLEVEL", "debug", {"log_level": "debug"}),
    ],
)
def test_a_name_that_others_use_means_a_setting(
    variable: str, value: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    settings = load()
    assert {name: getattr(settings, name) for name in expected} == expected
    assert {found.where for found in resolve().found.values()} == {variable}


def test_the_names_of_the_settings_win_then_port_then_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in (
        ("SERVER_ADDR", "10.0.0.1:84"),
        ("HTTP_PORT", "83"),
        ("PORT", "82"),
        ("TASKFLOW_PORT", "81"),
    ):
        monkeypatch.setenv(variable, value)
    for variable, port in (("TASKFLOW_PORT", 81), ("PORT", 82), ("HTTP_PORT", 83), ("SERVER_ADDR", 84)):
        assert (load().host, load().port) == ("10.0.0.1", port)
        monkeypatch.delenv(variable)
    assert load().port == 8080


@pytest.mark.parametrize("text", ["36526d", "1000000d", "99999999999d", "1e300", "3155760001", "9" * 400 + "d"])
@pytest.mark.parametrize(
    "name",
    [
        "poll_interval", "drain_timeout", "heartbeat_interval", "heartbeat_timeout", "retention_completed",
        "retention_ended", "retention_executions", "stream_seconds", "prefetch_seconds", "smtp_timeout", "retry_delay",
        "max_retry_delay",
    ],
)  # fmt: skip
def test_no_duration_is_longer_than_a_hundred_years(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TASKFLOW_{name.upper()}", text)
    assert problems() == [f"TASKFLOW_{name.upper()}: must be at most a hundred years (36525d)"]


def test_a_number_in_the_file_is_a_duration_too(file: Path) -> None:
    file.write_text(f"poll_interval = 1{'0' * 400}\ndrain_timeout = 1e300\nretention_ended = 3155760000\n")
    assert problems() == [
        "taskflow.toml:1: poll_interval: must be at most a hundred years (36525d)",
        "taskflow.toml:2: drain_timeout: must be at most a hundred years (36525d)",
    ]


LATE = "must be at least twice TASKFLOW_HEARTBEAT_INTERVAL, or workers that live are given up: raise it, or lower the"


@pytest.mark.parametrize(
    "environment",
    [
        {"TASKFLOW_HEARTBEAT_TIMEOUT": "4"},
        {"TASKFLOW_HEARTBEAT_TIMEOUT": "9.9s"},
        {"TASKFLOW_HEARTBEAT_INTERVAL": "16s"},
        {"TASKFLOW_HEARTBEAT_INTERVAL": "1", "TASKFLOW_HEARTBEAT_TIMEOUT": "1999ms"},
    ],
)
def test_a_worker_is_not_given_up_before_its_second_heartbeat(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert problems() == [f"TASKFLOW_HEARTBEAT_TIMEOUT: {LATE} interval"]


@pytest.mark.parametrize(("interval", "timeout"), [("5", "10"), ("0.3", "2"), ("15", None), ("60", "2m")])
def test_two_heartbeats_are_enough(interval: str, timeout: str | None) -> None:
    assert load(heartbeat_interval=interval, heartbeat_timeout=timeout).heartbeat_interval == float(interval)


def test_a_wrong_heartbeat_interval_is_one_problem() -> None:
    assert problems(heartbeat_interval="often")[0].startswith("TASKFLOW_HEARTBEAT_INTERVAL: must be a number")
    assert len(problems(heartbeat_interval="often", heartbeat_timeout="1")) == 1


def test_an_alias_that_is_not_needed_may_say_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKER_COUNT", "auto")
    monkeypatch.setenv("TASKFLOW_CONCURRENCY", "4")
    assert load().concurrency == 4


def test_what_kubernetes_says_about_a_service_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKFLOW_PORT", "tcp://10.0.0.1:8080")
    assert load().port == 8080
    monkeypatch.setenv("PORT", "81")
    assert load().port == 81


def test_every_alias_means_a_setting_that_exists() -> None:
    assert {name for alias in ALIASES for name in alias.settings} <= set(Settings.model_fields)


def test_the_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().port = 1  # type: ignore[misc]
