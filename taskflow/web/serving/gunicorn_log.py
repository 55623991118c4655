"""gunicorn's log in the form of ours: through `taskflow.telemetry`, warnings only unless the level is debug."""

from __future__ import annotations

import logging
import sys
from typing import Any

from gunicorn.glogging import Logger


class Log(Logger):  # type: ignore[misc]
    """Has no handlers of its own and writes no access log: the application does, and knows more."""

    def setup(self, cfg: Any) -> None:
        """Called by gunicorn instead of making handlers."""
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.handlers.clear()
        self.error_log.propagate = True
        # Its info lines are about processes that come and go as they should.
        debug = logging.getLogger().isEnabledFor(logging.DEBUG)
        self.error_log.setLevel(logging.DEBUG if debug else logging.WARNING)

    def access(self, *_: Any) -> None:
        """Nothing."""

    def reopen_files(self) -> None:
        """There are none."""

    def close_on_exec(self) -> None:
        """There are none."""

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """A client that fell silent is no error of ours."""
        if isinstance(sys.exc_info()[1], BlockingIOError | TimeoutError):
            self.debug("a client sent nothing for too long")
        else:
            super().exception(msg, *args, **kwargs)
