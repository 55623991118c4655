"""A flag that a signal handler may set."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class StopFlag:
    """What `threading.Event` is, without a lock of Python's: `set` may interrupt `wait` in the same thread, anywhere.

    `Event.set` called by a signal handler waits for ever if the handler has interrupted its thread where `Event.wait`
    was holding the event's lock. `SimpleQueue.put` is documented to be reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._queue: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        """Set it for good; whoever waits goes on."""
        self._is_set = True
        self._queue.put(None)

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds (None: for ever); whether it is."""
        if not self._is_set:
            try:
                self._queue.get(timeout=timeout)
            except Empty:
                return self._is_set
            self._queue.put(None)  # for others who wait
        return True
