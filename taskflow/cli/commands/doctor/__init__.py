"""`taskflow doctor`: what is wrong, or soon will be, and what to do. Each module has the checks of one field."""

from taskflow.cli.commands.doctor.command import command

__all__ = ["command"]
