"""A TCP relay to PostgreSQL that loses COMMITs, or the answers to them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from psycopg import conninfo

Loses = Literal["the commit", "its answer"]
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"  # a simple query, as psycopg sends it


class Relay:
    """Passes everything on, at `dsn`. The first `count` connections on which a COMMIT comes are cut: before it reaches
    the server, or when the server's answer comes."""

    def __init__(self, dsn: str, loses: Loses, count: int) -> None:
        to = conninfo.conninfo_to_dict(dsn)
        self._server = str(Path(str(to["host"])) / f".s.PGSQL.{to.get('port', 5432)}")
        self._loses = loses
        self._left = count
        self._lock = threading.Lock()
        self.lost = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        port = self.listener.getsockname()[1]
        self.dsn = conninfo.make_conninfo(
            dsn, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable", tcp_user_timeout=0
        )
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            cut = threading.Event()
            threading.Thread(target=self._to_server, args=(client, server, cut), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server, cut), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        try:
            while data := client.recv(65536):
                if data.endswith(COMMIT) and self._is_next():
                    if self._loses == "the commit":
                        self._close(client, server)
                        return
                    cut.set()
                server.sendall(data)
        except OSError:
            pass
        self._close(client, server)

    def _to_client(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if cut.is_set():
                    break
                client.sendall(data)
        except OSError:
            pass
        self._close(client, server)

    def _is_next(self) -> bool:
        with self._lock:
            self._left -= 1
            if self._left < 0:
                return False
            self.lost += 1
            return True

    @staticmethod
    def _close(*ends: socket.socket) -> None:
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(dsn: str, loses: Loses, count: int = 1) -> Iterator[Relay]:
    """A relay for the block."""
    opened = Relay(dsn, loses, count)
    try:
        yield opened
    finally:
        opened.listener.shutdown(socket.SHUT_RDWR)
        opened.listener.close()
