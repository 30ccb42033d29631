"""The commands that are programs of their own: serve and account of the demo, and train.

They are app.py, demo/accounts.py and train.py, with all their options; an installed package has
them, too, and no other way to start them.
"""

from __future__ import annotations

import argparse
import runpy
import sys

from dermhub import installation
from dermhub.errors import ConfigError

PROGRAMS = {
    "serve": ("app.py", "serve the demo on this machine, or for others"),
    "account": ("demo/accounts.py", "print the line of a user for serve --auth-file"),
    "train": ("train.py", "train a model"),
}
"""Command -> its program and its line of help."""


def add_parsers(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Name the programs in the help; their options are their own (`dermhub serve --help`)."""
    for name, (_, line) in PROGRAMS.items():
        commands.add_parser(name, help=line, add_help=False)


def run(options: argparse.Namespace) -> int:
    """Run the program of a command in this process, as `python PROGRAM ARGUMENTS` does.

    Raises SystemExit with its exit code, and ConfigError where dermhub was copied without it.
    """
    name = options.command
    path = installation.programs() / PROGRAMS[name][0]
    if not path.is_file():
        raise ConfigError(
            f"There is no {path}, which `dermhub {name}` runs: install dermhub again, or run the "
            "command in a clone."
        )
    sys.argv = [f"dermhub {name}", *options.arguments]
    # First, as for a script: `demo` is a name that others have, too.
    sys.path.insert(0, str(installation.programs()))
    module = PROGRAMS[name][0].removesuffix(".py").replace("/", ".")
    runpy.run_module(module, run_name="__main__")
    return 0
