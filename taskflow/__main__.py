"""`python -m taskflow` is the same as `taskflow`."""

from taskflow.cli.main import main

if __name__ == "__main__":
    main(prog_name="taskflow")
