"""Run the command line, as `dermhub` or as `python -m dermhub`."""

import sys

from dermhub.cli import machine
from dermhub.cli.main import main


def run() -> int:
    """Set the environment right, run a command, and return the exit code."""
    machine.prepare()
    return main()


if __name__ == "__main__":
    sys.exit(run())
