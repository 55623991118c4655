"""What the kernel says of a process: CPU time, resident memory, children. Linux only; None or 0 elsewhere."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# The number of a process's CPU clock is made of its id and of this, as clock_getcpuclockid(3) does it
# (MAKE_PROCESS_CPUCLOCK in Linux's posix-timers.h). The fields of /proc/PID/stat come in steps of 10 ms.
SCHEDULER_CLOCK = 2
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from `state` on; the process name before them may hold spaces."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def cpu_seconds(pid: int) -> float | None:
    """User and system CPU seconds that the process has used, to the nanosecond; None where nobody can tell."""
    try:
        return time.clock_gettime(~pid << 3 | SCHEDULER_CLOCK) if pid > 0 else None
    except (OSError, OverflowError):
        return None


def resident_bytes(pid: int) -> int:
    """The resident memory of the process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        found.append(current := queue.pop())
        queue.extend(children.get(current, ()))
    return found


def family_cpu_seconds(pid: int) -> float:
    """The CPU seconds of the process, its living descendants, and the children it has already waited for."""
    total = 0.0
    for member in family(pid):
        if (fields := _stat(member)) is not None:
            total += sum(int(value) for value in fields[11:15]) / TICKS_PER_SECOND
    return total


def parent(pid: int) -> int | None:
    """The process that started this one; None where nobody can tell."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])
