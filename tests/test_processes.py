"""What a process does when it has loaded what it needs."""

from __future__ import annotations

import subprocess
import sys

SETTLED = """
import gc
import taskflow.worker
from taskflow.processes import settle

settle()
loaded = gc.get_freeze_count()
for _ in range(100):
    ring = []
    ring.append(ring)
print(loaded, gc.isenabled(), gc.collect())
"""


def test_what_is_loaded_is_looked_through_no_more_and_new_garbage_still_is() -> None:
    told = subprocess.run([sys.executable, "-c", SETTLED], capture_output=True, text=True, check=True).stdout.split()
    assert int(told[0]) > 10_000
    assert told[1] == "True"
    assert int(told[2]) >= 99
