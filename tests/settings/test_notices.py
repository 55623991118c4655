"""Variables that do not do what somebody may expect are answered with a line each."""

from __future__ import annotations

from taskflow.settings import notices


def said(**environ: str) -> list[tuple[str, str]]:
    return [(notice.level, notice.text) for notice in notices(environ)]


def test_a_setting_that_is_none_is_a_warning_with_what_was_meant() -> None:
    assert said(TASKFLOW_CONCURENCY="5", TASKFLOW_ZEBRA="1", TASKQUEUE_WORKER_CONCURENCY="2") == [
        ("warning", "TASKFLOW_CONCURENCY is no setting, and does nothing: did you mean TASKFLOW_CONCURRENCY?"),
        ("warning", "TASKFLOW_ZEBRA is no setting, and does nothing: `taskflow config show` lists the settings"),
        (
            "warning",
            "TASKQUEUE_WORKER_CONCURENCY is no setting, and does nothing: did you mean TASKQUEUE_WORKER_CONCURRENCY?",
        ),
    ]


def test_all_brokers_are_answered_with_one_line_that_repeats_no_value() -> None:
    found = said(REDIS_URL="redis://:s3cret@h", CELERY_BROKER_URL="amqp://s3cret", NATS_URL="")
    assert found == [
        (
            "info",
            "REDIS_URL, CELERY_BROKER_URL: set, and not used. There is no broker: the database in DATABASE_URL is all"
            " it needs",
        )
    ]


def test_a_name_that_means_not_quite_the_same_is_said_while_it_is_used() -> None:
    assert "TASKQUEUE_QUEUE_RATELIMITRPS is read as TASKFLOW_RATE_LIMIT" in said(TASKQUEUE_QUEUE_RATELIMITRPS="5")[0][1]
    assert said(TASKQUEUE_QUEUE_RATELIMITRPS="5", TASKFLOW_RATE_LIMIT="7") == []


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_typing_error() -> None:
    found = said(
        TASKFLOW_PORT="tcp://10.0.0.1:80", TASKFLOW_SERVICE_HOST="10.0.0.1", TASKFLOW_SERVICE_PORT="80",
        TASKFLOW_SERVICE_PORT_HTTP="80", TASKFLOW_PORT_80_TCP="tcp://10.0.0.1:80", TASKFLOW_PORT_80_TCP_ADDR="10.0.0.1",
    )  # fmt: skip
    assert [level for level, _ in found] == ["info"]
    assert "TASKFLOW_PORT describes a service of Kubernetes" in found[0][1]


def test_settings_and_known_names_are_not_talked_about() -> None:
    assert said(TASKFLOW_PORT="1", TASKFLOW_CONFIG="x", DATABASE_URL="x", WORKER_COUNT="2", PATH="/bin") == []
