import pytest
from flask_shop import Base, confirm_order, create_app, engine_of


@pytest.fixture(scope="session")
def taskflow_prepare():
    """The tables of the shop, in the template of the tests' databases."""

    def prepare(dsn):
        Base.metadata.create_all(engine_of(dsn))

    return prepare


@pytest.fixture
def client(taskflow):
    return create_app(taskflow.dsn).test_client()


def test_a_committed_order_is_confirmed(client, taskflow):
    assert client.post("/orders", json={"article": "pen"}).status_code == 201
    taskflow.assert_enqueued(confirm_order, {"article": "pen"}, queue="mail", count=1)
    (run,) = taskflow.drain(raise_errors=True)
    assert run.result == {"text": "Your order 1 of one pen has arrived."}


def test_a_request_that_is_rolled_back_leaves_no_task(client, taskflow):
    assert client.post("/orders", json={"article": "unicorn"}).status_code == 409
    taskflow.assert_not_enqueued(confirm_order)
