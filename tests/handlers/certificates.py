"""Certificates for servers of tests, from an authority that only the test knows."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Authority:
    """`file` is what SSL_CERT_FILE wants."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.file = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def server_context(self, *names: str) -> ssl.SSLContext:
        """What a server needs to be these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(*names).configure_cert(context)
        return context
