"""Connection strings in the forms that platforms and other libraries use, as libpq takes them, and TLS by default.

A connection to a remote host asks for TLS (`sslmode=require`) unless somebody has said otherwise: libpq's own default
goes on without it where the server, or somebody in between, claims to have none. Whether a host is remote is told by
its name alone, nothing is looked up.
"""

from __future__ import annotations

import ipaddress
import os
import re
from typing import Any

# SQLAlchemy's and Heroku's: postgres://, postgresql+psycopg://, postgresql+asyncpg://.
SCHEME = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
# Names that no public server has, RFC 6762, 6761, 8375 and ICANN's, and those of platforms' private networks.
PRIVATE_ENDINGS = (
    ".local",
    ".localhost",
    ".internal",
    ".svc",
    ".lan",
    ".home",
    ".home.arpa",
    ".corp",
    ".intranet",
    ".private",
    ".test",
    ".docker",
    ".flycast",
)
SHARED = ipaddress.ip_network("100.64.0.0/10")  # of carriers and of overlay networks


def normalised(url: str) -> str:
    """The connection string for libpq, with `sslmode=require` for a remote host where nothing else is said.

    What cannot be read is returned as it is: connecting says what is wrong with it.
    """
    url = url.strip()
    scheme = SCHEME.match(url)
    if scheme:
        url = "postgresql://" + url[scheme.end() :]
    if not url or not _wants_tls(parameters(url)):
        return url
    joint = " " if scheme is None else "&" if "?" in url else "?"
    secured = f"{url}{joint}sslmode=require"
    return secured if parameters(secured).get("sslmode") == "require" else url


def is_remote(host: str) -> bool:
    """Whether a host can only be reached through networks of others: neither a socket, loopback or a private address,
    nor a name without a dot (of a container or a machine nearby) or with a private ending such as `.internal`."""
    host = host.strip("[]").rstrip(".").lower()
    if not host or host.startswith(("/", "@")) or host == "localhost":
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "." in host and not host.endswith(PRIVATE_ENDINGS) and ".svc." not in host
    return not (address.is_private or address.is_loopback or address.is_link_local or address in SHARED)


def parameters(url: str) -> dict[str, Any]:
    """What a connection string says, by libpq's names; nothing for one that cannot be read."""
    import psycopg  # not needed by programs that only read the settings
    from psycopg import conninfo

    try:
        return conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        return {}


def has_raw_at(url: str) -> bool:
    """Whether a user or password in a `normalised` URL has an `@` that is not written as `%40`: libpq takes what comes
    after the first one for host and port, and names these in its errors."""
    given = parameters(url)
    addresses = f"{given.get('host', '')},{given.get('port', '')}".split(",")
    return any("@" in address[1:] for address in addresses)  # one at the beginning makes it an abstract socket


def has_raw_slash(url: str) -> bool:
    """Whether a user or password in a URL has a `/` that is not written as `%2F`: libpq takes what comes before it for
    host and port, and the rest for the name of the database."""
    scheme = SCHEME.match(url)
    authority, _, path = url[scheme.end() if scheme else len(url) :].partition("?")[0].partition("/")
    return "@" in path and "@" not in authority and ":" in authority.rpartition("]")[2]


def has_raw_at_and_slash(url: str) -> bool:
    """Whether a user or password in a URL has both as they are: libpq takes what is between them for the host, and the
    rest for the name of the database, which would then have an `@` and, behind it, a `/` or a port."""
    scheme = SCHEME.match(url)
    authority, _, path = url[scheme.end() if scheme else len(url) :].partition("?")[0].partition("/")
    return "@" in authority and re.search(r"@[^@]*(?:/|:\d)", path) is not None


def hosts(given: dict[str, Any]) -> list[str]:
    """The hosts that a connection goes to: by name where there is one, else by address."""
    named = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or os.environ.get("PGHOSTADDR") or ""
    return str(named).split(",")


def _wants_tls(given: dict[str, Any]) -> bool:
    """A service file may say anything; `sslrootcert=system` asks for more than `require` by itself."""
    said = given.get("sslmode") or os.environ.get("PGSSLMODE") or given.get("service") or os.environ.get("PGSERVICE")
    if said or given.get("sslrootcert") == "system":
        return False
    return bool(given) and any(is_remote(host) for host in hosts(given))
