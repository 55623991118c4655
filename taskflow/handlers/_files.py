"""The files of handlers: below one directory, that of TASKFLOW_FILES_ROOT, and there whole or not at all.

A payload names a file by a relative path. It is walked from the root down, one directory after the other, and no
symbolic link below the root is followed: so nobody who writes there, not even at this very moment, can lead it outside.

A new file has no name until it is complete and on disk. What is killed in between leaves nothing behind: the kernel
removes a file without a name with the process. Where the file system knows no such files (NFS, macOS) it is called
`.<name>.<owner>.part` meanwhile, and the next attempt of the same owner removes what a killed one has left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO

from pydantic import StringConstraints

from taskflow.errors import DeadLetter
from taskflow.settings import Settings

SETTING = "TASKFLOW_FILES_ROOT"
BUFFER_BYTES = 1024 * 1024
MAX_PATH_CHARACTERS = 1000
SCRATCH_PREFIX = ".taskflow-"
SCRATCH_SECONDS = 60.0
# Relative, no part empty or with a dot in front (so none is ".", ".." or hidden), no control character.
PATTERN = r"^[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*(/[^\x00-\x1f\x7f/.][^\x00-\x1f\x7f/]*)*$"
# What a directory is opened with that a payload has named: a link there is an error, not a way out.
STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
NO_SUCH_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})

RelativePath = Annotated[str, StringConstraints(pattern=PATTERN, max_length=MAX_PATH_CHARACTERS)]


class FilesUnavailable(Exception):
    """The root is not there, perhaps not mounted yet; retried by the task's policy."""


class NewFile:
    """A file that is being written to `stream`; `bytes` and `sha256` are those of all of it, once it is complete."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.bytes = 0
        self.sha256 = ""


@dataclass(frozen=True, slots=True)
class Files:
    """The files below a root. Raises `DeadLetter` for a path that can never be used, `OSError` for what may pass."""

    root: Path

    @classmethod
    def configured(cls, settings: Settings) -> Files:
        """Those of the setting. Raises `DeadLetter` if it is not set."""
        if not settings.files_root:
            raise DeadLetter(f"{SETTING} is not set: name the directory that handlers may read and write, and retry")
        return cls(Path(settings.files_root).absolute())

    def open(self, path: str) -> BinaryIO:
        """An existing regular file, to read. Raises `DeadLetter` if there is none."""
        *directories, name = path.split("/")
        with self._directory(directories, create=False) as directory:
            try:
                # A FIFO would keep us waiting for its writer.
                descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
            except OSError as error:
                raise _refused(path, error) from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise DeadLetter(f"{path} is no regular file")
        return os.fdopen(descriptor, "rb")

    @contextlib.contextmanager
    def create(self, path: str, owner: str) -> Iterator[NewFile]:
        """A file to write, which takes the place of what is at `path` when the block ends, and not if it raises.

        `owner` tells apart those who write the same path at once: the last to end wins, with a whole file.
        """
        *directories, name = path.split("/")
        with self._directory(directories, create=True) as directory:
            _check_place(directory, name, path)
            part = f".{name[:150]}.{owner}.part"
            descriptor, named = _open_new(directory, part)
            try:
                with os.fdopen(descriptor, "w+b", buffering=BUFFER_BYTES) as stream:
                    file = NewFile(stream)
                    yield file
                    stream.flush()
                    _measure(file)
                    os.fsync(descriptor)
                    if not named:
                        _remove(part, directory)
                        os.link(f"/proc/self/fd/{descriptor}", part, dst_dir_fd=directory, follow_symlinks=True)
                        named = True
                    os.rename(part, name, src_dir_fd=directory, dst_dir_fd=directory)
                    named = False
            finally:
                if named:
                    _remove(part, directory)
            os.fsync(directory)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A directory for temporary files of libraries, removed at the end of the block.

        It is locked while it is used: so one that a killed process has left is known, and removed by the next.
        """
        self._check_root()
        for left in self.root.glob(f"{SCRATCH_PREFIX}*"):
            with contextlib.suppress(OSError):
                # One that is new may be about to be locked.
                if left.stat().st_mtime < time.time() - SCRATCH_SECONDS:
                    with _locked(left):
                        shutil.rmtree(left, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=self.root))
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, path, ignore_errors=True)
            with contextlib.suppress(OSError):  # NFS locks no directory; then nobody can lock one that was left either
                stack.enter_context(_locked(path))
            yield str(path)

    def _check_root(self) -> None:
        if not self.root.is_dir():
            raise FilesUnavailable(f"{SETTING}: there is no directory {self.root}")

    @contextlib.contextmanager
    def _directory(self, parts: list[str], *, create: bool) -> Iterator[int]:
        """The directory reached by `parts` from the root, open for this block."""
        self._check_root()
        here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for number, part in enumerate(parts, 1):
                below = _step(here, part, "/".join(parts[:number]), create=create)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)


def _step(here: int, part: str, path: str, *, create: bool) -> int:
    try:
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
        return os.open(part, STEP, dir_fd=here)
    except OSError as error:
        raise _refused(path, error) from error


def _refused(path: str, error: OSError) -> Exception:
    """What it means that `path` cannot be used: final where it lies in the path, the error itself otherwise."""
    match error.errno:
        case errno.ENOENT:
            return DeadLetter(f"there is no {path} below {SETTING}")
        case errno.ENOTDIR | errno.ELOOP:
            return DeadLetter(f"{path} is no directory or a symbolic link: below {SETTING} no link is followed")
        case errno.ENAMETOOLONG | errno.EILSEQ:
            return DeadLetter(f"{path}: {error.strerror}")
    return error


def _check_place(directory: int, name: str, path: str) -> None:
    """Found out before the work, not after it."""
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            raise DeadLetter(f"{path} is a directory")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise _refused(path, error) from error


def _open_new(directory: int, part: str) -> tuple[int, bool]:
    """The descriptor of a new file in the directory, and whether it is called `part` already."""
    unnamed = getattr(os, "O_TMPFILE", 0)
    if unnamed and os.path.isdir("/proc/self/fd"):
        try:
            return os.open(".", unnamed | os.O_RDWR, 0o666, dir_fd=directory), False
        except OSError as error:
            if error.errno not in NO_SUCH_FILES:
                raise
    _remove(part, directory)
    return os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666, dir_fd=directory), True


def _measure(file: NewFile) -> None:
    digest = hashlib.sha256()
    file.stream.seek(0)
    while data := file.stream.read(BUFFER_BYTES):
        digest.update(data)
    file.sha256 = digest.hexdigest()
    file.bytes = file.stream.tell()


def _remove(name: str, directory: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises `BlockingIOError` if another process has it."""
    descriptor = os.open(path, STEP)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
