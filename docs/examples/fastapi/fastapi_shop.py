"""FastAPI and SQLAlchemy's asyncio: an order and the task that confirms it are one transaction.

DATABASE_URL=… uvicorn fastapi_shop:app
DATABASE_URL=… taskflow worker --import fastapi_shop
"""

import os
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from taskflow import task


class Base(DeclarativeBase):
    pass


class Order(Base):
    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    article: Mapped[str]


class NewOrder(BaseModel):
    article: str


class Confirmation(BaseModel):
    order_id: int
    article: str


@task("confirm", queue="mail", max_attempts=5)
async def confirm(payload: Confirmation) -> dict:
    return {"text": f"Your order {payload.order_id} of one {payload.article} has arrived."}


@asynccontextmanager
async def lifespan(app: FastAPI):
    engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
    app.state.sessions = async_sessionmaker(engine)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def create_order(new: NewOrder) -> dict:
    # Not in a dependency with `yield`: its end, and with it the commit, may come after the answer.
    async with app.state.sessions.begin() as session:
        order = Order(article=new.article)
        session.add(order)
        await session.flush()  # so that it has an id
        await confirm.enqueue_async(Confirmation(order_id=order.id, article=new.article), connection=session)
        if new.article == "unicorn":
            raise HTTPException(409, "sold out")  # leaves the block: neither order nor task
        return {"id": order.id}
