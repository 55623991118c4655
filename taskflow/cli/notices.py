"""What is said once at the start of a program about variables that do not do what somebody may expect."""

from __future__ import annotations

from taskflow import telemetry
from taskflow.settings import notices


def log_notices() -> None:
    """One line each, into the log; to be called once it is configured."""
    log = telemetry.get_logger("settings")
    for notice in notices():
        if notice.level == "warning":
            log.warning("setting_unknown", variables=list(notice.variables), reason=notice.text)
        else:
            log.info("setting_not_used", variables=list(notice.variables), reason=notice.text)
