"""Workers: processes that claim tasks, run their handlers and write down what became of them."""

from taskflow.worker.supervisor import Supervisor
from taskflow.worker.worker import Worker

__all__ = ["Supervisor", "Worker"]
