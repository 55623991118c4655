"""Starting child processes that cannot outlive us, giving up root's rights for them, and beginning to serve as one."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
GARBAGE_AFTER = 5_000  # new objects, instead of 700 or 2,000
# Loaded before any fork: the child of a process with threads must not load anything.
_libc: Any = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Identity:
    """The operating system user that a child runs as; `reach_anywhere` lets it pass directories closed to that user."""

    uid: int
    gid: int
    reach_anywhere: bool = False

    def can_read(self, path: Path) -> bool:
        """Whether this user may read or execute `path`, asked of the kernel rather than worked out from modes."""
        check = ["/bin/sh", "-c", 'test -r "$0"', str(path)]
        return subprocess.run(check, user=self.uid, group=self.gid, extra_groups=[], check=False).returncode == 0


def settle() -> None:
    """What a process has loaded stays as long as it does: from now on garbage is looked for in what comes after. To go
    through the objects of all modules again and again takes a twelfth of a busy worker's processor time. And it is
    looked for less often: a claim makes thousands of objects at once, and another twentieth of the time went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_AFTER, *gc.get_threshold()[1:])


def spawn(
    command: Sequence[str | Path],
    *,
    identity: Identity | None = None,
    end_with: signal.Signals = signal.SIGTERM,
    environment: dict[str, str] | None = None,
    output: IO[Any] | int | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, so that Ctrl-C in the terminal reaches only us.

    On Linux the kernel sends it `end_with` when the calling thread ends, however it ends: call this from a thread
    that lives as long as the program. `output` receives stdout and stderr; None inherits both.
    """
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,
        preexec_fn=before_exec(identity, end_with),
    )


def before_exec(identity: Identity | None, end_with: signal.Signals) -> Callable[[], None]:
    """What a child that the calling thread is about to fork has to call first: see `spawn`."""
    parent = os.getpid()

    def prepare() -> None:  # pragma: no cover  (between fork and exec, where nothing is measured)
        if identity is not None:
            _become(identity)
        if _libc is not None:
            # After the change of user, which clears it.
            _libc.prctl(PR_SET_PDEATHSIG, int(end_with), 0, 0, 0)
            if os.getppid() != parent:  # it died before the kernel knew what to do then
                os._exit(1)

    return prepare


def unmoved(_signal: int, _frame: FrameType | None) -> None:
    """A handler for signals that somebody else acts on. Other than SIG_IGN it is not passed on to what is executed."""


def let_forks_end(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have SIGTERM end the processes that this one forks, though `handler` is set for it here: that is how
    multiprocessing ends the processes of a pool. Ctrl-C, which reaches all of them, is left to this one."""
    masks = threading.local()

    def before() -> None:  # what is sent to a child that is not yet ready for it must not be lost
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def in_child() -> None:  # pragma: no cover  (forked processes are not measured)
        for number, instead in ((signal.SIGTERM, signal.SIG_DFL), (signal.SIGINT, unmoved)):
            if signal.getsignal(number) is handler:
                signal.signal(number, instead)
        in_parent()

    os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)


def _become(identity: Identity) -> None:  # pragma: no cover  (between fork and exec)
    """Give up root for `identity`, keeping only the right to pass closed directories where it needs that."""
    keep = identity.reach_anywhere and _libc is not None
    if keep:
        _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(identity.gid)
    os.setuid(identity.uid)
    if keep:
        only = 1 << CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)(only, only, only, 0, 0, 0)  # effective, permitted, inheritable; then bits 32..63
        _libc.capset(header, sets)
        _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)
