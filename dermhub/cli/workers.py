"""The option --workers of the commands that run many images through a model."""

from __future__ import annotations

import argparse
import os

from dermhub.errors import ConfigError


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the option: the number of threads that decode."""
    default = min(4, os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=default, help="threads that decode")


def check_workers(workers: int) -> None:
    """Raise ConfigError for a number of workers below 0."""
    if workers < 0:
        raise ConfigError(f"--workers is {workers}, expected at least 0.")
