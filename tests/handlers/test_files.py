"""Files of handlers: nothing outside of the root, nothing half-written, nothing left behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from taskflow.errors import DeadLetter
from taskflow.handlers import _files
from taskflow.handlers._files import Files, FilesUnavailable, RelativePath
from taskflow.settings import load


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(params=["without a name", "with a name"])
def files(root: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Files:
    """On file systems that know files without a name, and on those that do not."""
    if request.param == "with a name":
        monkeypatch.delattr(os, "O_TMPFILE")
    return Files(root)


def everything(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir())


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../x",
        "a/..",
        "./a",
        "a//b",
        "a/",
        ".hidden",
        "a/.hidden",
        "a\0b",
        "a\nb",
        "x" * 1001,
    ],
)
def test_a_path_that_is_not_plainly_below_the_root_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RelativePath).validate_python(path)


@pytest.mark.parametrize("path", ["a", "a/b/c.csv", "a..b", "übersicht 2026.csv", "a\\..\\b", "a/b.c/d"])
def test_any_other_path_is_a_name_below_the_root(files: Files, root: Path, path: str) -> None:
    assert TypeAdapter(RelativePath).validate_python(path) == path
    with files.create(path, "1") as file:
        file.stream.write(b"data")
    assert (root / path).read_bytes() == b"data"
    with files.open(path) as stream:
        assert stream.read() == b"data"


def test_no_symbolic_link_is_followed_neither_to_read_nor_to_write(files: Files, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (root / "directory").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    for path in ("directory/secret", "file"):
        with pytest.raises(DeadLetter, match="no link is followed"):
            files.open(path)
    with pytest.raises(DeadLetter, match="no link is followed"), files.create("directory/new", "1"):
        pass
    with files.create("file", "1") as file:  # takes the link's place, and leaves what it led to
        file.stream.write(b"new")
    assert (outside / "secret").read_text() == "secret"
    assert not (root / "file").is_symlink()
    assert os.listdir(outside) == ["secret"]


def test_a_directory_that_becomes_a_link_meanwhile_does_not_lead_outside(
    files: Files, root: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with files.create("directory/new", "1") as file:
        (root / "directory").rename(root / "moved")
        (root / "directory").symlink_to(outside)
        file.stream.write(b"data")
    assert os.listdir(outside) == []
    assert (root / "moved" / "new").read_bytes() == b"data"


def test_a_file_appears_when_it_is_complete_and_says_what_is_in_it(files: Files, root: Path) -> None:
    (root / "report").write_bytes(b"before")
    with files.create("report", "1") as file:
        file.stream.write(b"after" * 500_000)
        assert (root / "report").read_bytes() == b"before"
    assert (root / "report").read_bytes() == b"after" * 500_000
    assert (file.bytes, file.sha256) == (2_500_000, hashlib.sha256(b"after" * 500_000).hexdigest())
    assert everything(root) == ["report"]


def test_what_fails_leaves_the_file_before_and_nothing_else(files: Files, root: Path) -> None:
    (root / "report").write_bytes(b"before")

    def fail() -> None:
        with files.create("report", "1") as file:
            file.stream.write(b"half")
            file.stream.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (root / "report").read_bytes() == b"before"
    assert everything(root) == ["report"]


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from taskflow.handlers._files import Files
if sys.argv[2] == "with a name":
    del os.O_TMPFILE
with Files(Path(sys.argv[1])).create("report", "7") as file:
    file.stream.write(b"half" * 1_000_000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["without a name", "with a name"])
def test_a_killed_process_leaves_nothing_or_what_the_next_attempt_removes(root: Path, way: str) -> None:
    assert subprocess.run([sys.executable, "-c", WRITE_AND_DIE, str(root), way], check=False).returncode == -9
    assert everything(root) == ([] if way == "without a name" else [".report.7.part"])
    with Files(root).create("report", "7") as file:
        file.stream.write(b"whole")
    assert everything(root) == ["report"]


def test_two_that_write_the_same_path_at_once_leave_a_whole_file(files: Files, root: Path) -> None:
    with files.create("report", "1") as first:
        first.stream.write(b"first")
        with files.create("report", "2") as second:
            second.stream.write(b"second")
        assert (root / "report").read_bytes() == b"second"
    assert (root / "report").read_bytes() == b"first"
    assert everything(root) == ["report"]


def test_only_regular_files_are_read(root: Path) -> None:
    os.mkfifo(root / "fifo")
    (root / "directory").mkdir()
    for name in ("fifo", "directory"):
        with pytest.raises(DeadLetter, match="no regular file"):
            Files(root).open(name)
    with pytest.raises(DeadLetter, match="there is no missing"):
        Files(root).open("missing")
    with pytest.raises(DeadLetter, match="there is no missing"):
        Files(root).open("missing/too")


def test_a_directory_is_not_replaced_by_a_file(files: Files, root: Path) -> None:
    (root / "directory").mkdir()
    with pytest.raises(DeadLetter, match="is a directory"), files.create("directory", "1"):
        pass


def test_without_the_setting_the_error_is_final_and_names_it() -> None:
    with pytest.raises(DeadLetter, match="TASKFLOW_FILES_ROOT is not set"):
        Files.configured(load())


def test_a_root_that_is_not_there_may_come_back(tmp_path: Path) -> None:
    files = Files(tmp_path / "not mounted")
    with pytest.raises(FilesUnavailable, match="TASKFLOW_FILES_ROOT"), files.create("a", "1"):
        pass
    with pytest.raises(FilesUnavailable), files.scratch():
        pass
    assert not (tmp_path / "not mounted").exists()


def test_scratch_directories_go_those_of_the_dead_too_and_those_in_use_stay(root: Path) -> None:
    (root / f"{_files.SCRATCH_PREFIX}dead").mkdir()
    files = Files(root)
    with files.scratch() as first:
        Path(first, "sheet").write_text("rows")
        long_ago = time.time() - 3600
        for path in root.iterdir():
            os.utime(path, (long_ago, long_ago))
        with files.scratch() as second:
            assert {path.name for path in root.iterdir()} == {Path(first).name, Path(second).name}
    assert list(root.iterdir()) == []
