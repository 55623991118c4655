from __future__ import annotations

import os
import subprocess
import sys
import threading

from taskflow.stop_flag import StopFlag
from tests.forked import UNMEASURED

# A process of its own, since a tracer would take the place of what measures coverage.
INTERRUPTED = """
import sys
from taskflow import stop_flag

def interrupted_at(number):
    flag, seen = stop_flag.StopFlag(), 0

    def trace(frame, event, argument):
        nonlocal seen
        if frame.f_code.co_filename != stop_flag.__file__:
            return None
        seen += 1
        if seen == number:
            sys.settrace(None)
            flag.set()  # as the handler of a signal would, in the same thread
        return trace

    sys.settrace(trace)
    flag.wait(0.01)
    sys.settrace(None)
    assert seen < number or flag.is_set()
    return seen >= number

places = 0
while interrupted_at(places + 1):
    places += 1
print(places)
"""


def test_a_handler_may_set_it_wherever_it_interrupts_the_wait() -> None:
    command = [sys.executable, "-c", INTERRUPTED]
    environment = {**os.environ, **UNMEASURED}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4


def test_it_wakes_all_who_wait_and_stays_set() -> None:
    flag, woken = StopFlag(), threading.Barrier(4)
    threads = [threading.Thread(target=lambda: flag.wait() and woken.wait(10)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not flag.wait(0.01)
    flag.set()
    flag.set()
    woken.wait(10)
    for thread in threads:
        thread.join(10)
    assert flag.wait(0)
    assert flag.is_set()
