"""The client: enqueue tasks and look after them, synchronously, with asyncio, or through a handler."""

from taskflow.client.async_client import AsyncClient
from taskflow.client.client import Client
from taskflow.client.decorator import TaskHandler, default_client, task

__all__ = ["AsyncClient", "Client", "TaskHandler", "default_client", "task"]
