"""A port to listen on, found out before anything is started."""

from __future__ import annotations

import errno
import socket
import time

from taskflow.errors import TaskflowError


class PortInUse(TaskflowError):
    """Somebody else listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is in use by another program; PORT={port + 1} takes another.")


def free_port(host: str, wanted: int, *, patience_seconds: float = 0.0) -> int:
    """`wanted`, or any free port for 0. Raises `PortInUse`, or `TaskflowError` for what else keeps us from it.

    A port in use is tried again for `patience_seconds`.
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            return _bound(host, wanted)
        except PermissionError:
            raise TaskflowError(f"Port {wanted} needs more rights than yours; PORT=8080 takes another.") from None
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise TaskflowError(f"Cannot listen on {host}:{wanted}: {error.strerror}.") from error
            if time.monotonic() >= deadline:
                raise PortInUse(wanted) from None
            time.sleep(0.1)


def _bound(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        number: int = probe.getsockname()[1]
        return number
