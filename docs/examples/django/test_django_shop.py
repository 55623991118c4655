import os

import django
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

os.environ["DJANGO_SETTINGS_MODULE"] = "django_shop.settings"
django.setup()

from django_shop.models import Order  # noqa: E402
from django_shop.settings import database  # noqa: E402
from django_shop.tasks import confirm_order  # noqa: E402


def use(dsn):
    """Let Django work in this database from here on."""
    connection.close()
    connection.settings_dict.update(database(dsn))


@pytest.fixture(scope="session")
def taskflow_prepare():
    """The tables of the shop, in the template of the tests' databases."""

    def prepare(dsn):
        use(dsn)
        call_command("migrate", run_syncdb=True, verbosity=0)
        connection.close()

    return prepare


@pytest.fixture
def client(taskflow):
    use(taskflow.dsn)
    yield Client()
    connection.close()


def test_a_committed_order_is_confirmed(client, taskflow):
    answer = client.post("/orders", {"article": "pen"}, content_type="application/json")
    assert answer.status_code == 201
    taskflow.assert_enqueued(confirm_order, {"order_id": answer.json()["id"]}, queue="mail", count=1)
    taskflow.drain(raise_errors=True)
    assert Order.objects.get(article="pen").confirmed


def test_a_request_that_is_rolled_back_leaves_no_task(client, taskflow):
    answer = client.post("/orders", {"article": "unicorn"}, content_type="application/json")
    assert answer.status_code == 409
    assert not Order.objects.exists()
    taskflow.assert_not_enqueued(confirm_order)
