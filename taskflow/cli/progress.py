"""A progress bar on stderr, for people, and only once something takes longer than a second."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

PATIENCE_SECONDS = 1.0


class Progress:
    """A context manager; `advance` as the work goes on. `total` None: nobody knows how much there is."""

    def __init__(self, label: str, total: float | None) -> None:
        self._label = label
        self._total = total
        self._done = 0.0
        self._lock = threading.Lock()
        self._bar: Bar | None = None
        self._row: Any = None
        self._timer = threading.Timer(PATIENCE_SECONDS, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._timer.finished.set()
            if self._bar is not None:
                self._bar.stop()

    def advance(self, count: float) -> None:
        """So much more is done."""
        with self._lock:
            self._done += count
            if self._bar is not None:
                self._bar.update(self._row, completed=self._done)

    def _show(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from taskflow.cli.output import console

        with self._lock:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            bar = Progress(*columns, console=console(stderr=True), transient=True)
            self._row = bar.add_task(self._label, total=self._total, completed=int(self._done))
            bar.start()
            self._bar = bar
