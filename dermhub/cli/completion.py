"""The command completion: a script that makes a shell complete commands, options and files.

The script is written once by shtab, so that completing starts no Python.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dermhub.errors import ConfigError

SHELLS = ("bash", "zsh", "tcsh")


def add_completion(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], parser: argparse.ArgumentParser
) -> None:
    """Add the options of completion, which completes the whole command line of `parser`."""
    completion = commands.add_parser(
        "completion",
        help="print a script that completes commands and options in a shell",
        description='For this session: eval "$(dermhub completion bash)". For all, put that line '
        "into ~/.bashrc, or the script into a folder of zsh's fpath as _dermhub.",
    )
    completion.add_argument("shell", choices=SHELLS, help="shell that reads the script")
    completion.set_defaults(run=run_completion, parser=parser)


def run_completion(options: argparse.Namespace) -> int:
    """Print the script; raises ConfigError where shtab is not installed."""
    try:
        import shtab
    except ModuleNotFoundError:
        raise ConfigError(
            "completion needs shtab, which is not installed: pip install shtab."
        ) from None
    parser = options.parser
    # The command is completed under its own name, however it was called this time.
    parser.prog = "dermhub"
    _complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, options.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser, files: Any) -> None:
    """Mark the options and arguments that take files, in the parsers of all commands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_files(inner, files)
        elif action.type is Path or action.dest in ("model", "models"):
            marked: Any = action
            marked.complete = files
