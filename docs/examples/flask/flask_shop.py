"""Flask and SQLAlchemy: an order and the task that confirms it are one transaction.

DATABASE_URL=… flask --app flask_shop run
DATABASE_URL=… taskflow worker --import flask_shop
"""

import os

from flask import Flask, abort, request
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from taskflow import task


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]


@task("confirm_order", queue="mail", max_attempts=5)
def confirm_order(payload: dict) -> dict:
    return {"text": f"Your order {payload['order_id']} of one {payload['article']} has arrived."}


def engine_of(dsn: str):
    return create_engine(dsn.replace("postgresql://", "postgresql+psycopg://"))


def create_app(dsn: str | None = None) -> Flask:
    app = Flask(__name__)
    engine = engine_of(dsn or os.environ["DATABASE_URL"])

    @app.post("/orders")
    def create_order():
        article = request.json["article"]
        with Session(engine) as session, session.begin():
            order = Order(article=article)
            session.add(order)
            session.flush()  # so that it has an id
            confirm_order.enqueue({"order_id": order.id, "article": article}, connection=session)
            if article == "unicorn":
                abort(409, "sold out")  # leaves the block: neither order nor task
            return {"id": order.id}, 201

    return app
