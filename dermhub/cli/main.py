"""The command line: dermhub COMMAND, or python -m dermhub COMMAND; --help lists the commands.

Modules with heavy imports are imported by the command that needs them, so that --help is quick.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dermhub import __version__, installation
from dermhub.cli import (
    cards,
    completion,
    evaluate,
    hub,
    machine,
    predict,
    programs,
    similar,
    terminal,
)
from dermhub.errors import DermhubError
from dermhub.models import catalog


def make_parser(program: str = "python -m dermhub") -> argparse.ArgumentParser:
    """Make the parser with the options of every command; `program` is its name in the help."""
    shipped = catalog.shipped()
    models = f"The shipped models are {', '.join(shipped)}." if shipped else "No model is shipped."
    parser = argparse.ArgumentParser(
        prog=program,
        description="Classify dermatoscopic images. Research software, not a medical device.",
        epilog=f"{models} Where a model is asked for, the folder of a model and org/name of the "
        "Hugging Face hub will do, too.",
    )
    parser.add_argument("--version", action="version", version=f"dermhub {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    predict.add_predict(commands)
    similar.add_similar(commands)
    evaluate.add_evaluate(commands)
    cards.add_parsers(commands)
    hub.add_parsers(commands)
    evaluate.add_overlap(commands)
    predict.add_merge(commands)
    programs.add_parsers(commands)
    completion.add_completion(commands, parser)
    return parser


def _program() -> str:
    """Return the name by which the command line was called."""
    name = Path(sys.argv[0]).stem
    return name if name == "dermhub" else "python -m dermhub"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors about the input are one sentence on stderr and exit code 2."""
    given = sys.argv[1:] if arguments is None else arguments
    with terminal.printable_output():
        if given and given[0] in programs.PROGRAMS:
            options = argparse.Namespace(command=given[0], run=programs.run, arguments=given[1:])
        else:
            options = make_parser(_program()).parse_args(given)
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Run a command whose options are parsed; see `main`."""
    try:
        code = int(options.run(options))
        # Flushed here, because at its end Python makes a reader that has gone exit code 120.
        sys.stdout.flush()
    except DermhubError as error:
        print(f"dermhub: {terminal.one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        advice = f"{installation.advice(error.name or '')}."
        if options.command == "predict":
            advice += " Without it, give an export or another --model folder with a model.onnx."
        print(
            f"dermhub: this needs {error.name}, which is not installed: {advice}", file=sys.stderr
        )
        return 2
    except BrokenPipeError:
        # The reader (head, less) has gone, which is no error.
        _give_up_output()
        return 0
    except Exception as error:
        problem = machine.sentence(error)
        if problem:
            print(f"dermhub: {problem}", file=sys.stderr)
            return 2
        if not isinstance(error, OSError):
            raise
        # An error of a file names it; that of the output stream names none.
        if error.filename is None:
            problem = "The output can't be written"
        else:
            problem = f"{str(error.filename)[:80]!r} can't be used"
        print(f"dermhub: {problem} ({error.strerror or error}).", file=sys.stderr)
        if error.filename is None:
            _give_up_output()
        return 2
    return code


def _give_up_output() -> None:
    """Discard what is still to be written to stdout."""
    # Python would try to write the rest once more while it closes stdout, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
