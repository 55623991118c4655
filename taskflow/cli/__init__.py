"""The command line: every module here that defines `command` is one command of `taskflow`."""
