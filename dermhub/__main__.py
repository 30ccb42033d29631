"""Run the command line with `python -m dermhub`."""

import sys

from dermhub.cli import machine
from dermhub.cli.main import main

if __name__ == "__main__":
    machine.prepare()
    sys.exit(main())
