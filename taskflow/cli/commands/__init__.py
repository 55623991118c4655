"""Every module here is one command of `taskflow`: its `command`."""
