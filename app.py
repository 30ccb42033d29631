"""The demo: python app.py [--host HOST] [--port PORT] [--auth-file FILE] [--max-queue N] [--share].

Takes a dermatoscopic image and shows what both shipped models say and where they found it. This
module joins the page and the server, which do not know of each other.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from demo import accounts
from demo.decode_limits import Limits
from demo.server import server, variables
from demo.server.process import PortError, Stop, StopSignals
from dermhub import installation
from dermhub.cli import machine, terminal
from dermhub.errors import program

if TYPE_CHECKING:
    from demo.decoding import DecodingProcesses
    from demo.read_upload import Decode

UNBOUNDED = (
    "images are decoded in the server itself, without bounds on memory and time, because no "
    "process for it can be started"
)


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(description="Serve the dermhub demo.")
    parser.add_argument(
        "--host",
        default=variables.host(),
        help="address to listen on (default: GRADIO_SERVER_NAME or 127.0.0.1, this machine)",
    )
    parser.add_argument(
        "--port",
        type=port_number,
        help="port to listen on (default: GRADIO_SERVER_PORT or 7860)",
    )
    parser.add_argument(
        "--share", action="store_true", help="open the page to the public through a Gradio link"
    )
    parser.add_argument(
        "--auth-file",
        type=Path,
        metavar="FILE",
        help="who may use it: lines user:password, hashes, or tokens of programs",
    )
    parser.add_argument(
        "--public-host",
        action="append",
        default=[],
        type=host_name,
        metavar="NAME",
        help="name under which a proxy offers the page, and no other; may be given again",
    )
    parser.add_argument(
        "--max-queue",
        type=count,
        default=32,
        metavar="N",
        help="requests that may wait (default: 32)",
    )
    parser.add_argument(
        "--binary", default="binary", metavar="ID", help="model or folder for benign / malignant"
    )
    parser.add_argument(
        "--lesion", default="lesion", metavar="ID", help="model or folder for the seven classes"
    )
    parser.add_argument(
        "--examples",
        type=folder,
        metavar="DIR",
        help="folder with images to offer (default: six images of ours)",
    )
    parser.add_argument(
        "--decode-limits",
        type=decode_limits,
        default=Limits(),
        metavar="MB,SECONDS",
        help="bounds for decoding a file, in a process beside the server; off: decode in the "
        "server, unbounded (default: 300,2)",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="serve the same functions as tools (needs gradio[mcp])"
    )
    return parser


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = make_parser()
    given = parser.parse_args(arguments)
    if given.port is None:
        try:
            given.port = port_number(variables.port())
        except argparse.ArgumentTypeError as error:
            parser.error(f"{variables.PORT}: {error}")
    return given


def folder(text: str) -> Path:
    """Return an existing folder from the command line."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


def host_name(text: str) -> str:
    """Return the name of a host from the command line, without scheme and port."""
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", text):
        raise argparse.ArgumentTypeError(
            f"{text} is no host name, expected one like derm.example.org, without http:// and port"
        )
    return text.lower()


def port_number(text: str) -> int:
    """Return a port from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected a number from 1 to 65535")
    return int(text)


def count(text: str) -> int:
    """Return a number of requests from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text} is no number of requests, expected 1 to 10000")
    return int(text)


def decode_limits(text: str) -> Limits | None:
    """Return bounds for decoding from the command line."""
    try:
        return Limits.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settings(given: argparse.Namespace) -> server.Settings:
    """Derive settings from the command line and the environment of a Space.

    Warns on stderr of what others can reach or read. Raises AccountsError.
    """
    # A Space says in its environment that it listens for others.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else given.host
    users = accounts.read(given.auth_file) if given.auth_file else None
    if given.auth_file and accounts.is_open_to_others(given.auth_file):
        warn(
            f"{given.auth_file} can be read by other users of this machine: chmod 600 "
            f"{given.auth_file}."
        )
    reached = given.share or host not in server.LOCAL
    if reached and users is None:
        warn(
            "this page can be reached by others, without a password: whoever reaches it can use it "
            "(--auth-file)."
        )
    elif reached and not given.share:
        warn(
            "passwords and images travel unencrypted unless a proxy with TLS stands in front "
            "(deploy/)."
        )
    return server.Settings(
        host,
        given.port,
        given.share,
        given.max_queue,
        users,
        tuple(given.public_host),
        space=bool(os.environ.get("SPACE_ID")),
    )


def warn(sentence: str) -> None:
    """Print a sentence on stderr."""
    print(f"{program('app.py')}: {terminal.one_line(sentence)}", file=sys.stderr, flush=True)


def main() -> int:
    """Listen, load both models, and serve the page until stopped."""
    given = options()
    from dermhub import DermhubError, __version__

    if given.mcp and importlib.util.find_spec("mcp") is None:
        warn("--mcp needs one more package: pip install 'gradio[mcp]'.")
        return 2
    if problem := variables.root_path_problem():
        warn(problem)
        return 2
    if ignored := variables.drop():
        warn(f"not heeded: {', '.join(ignored)}; python app.py --help lists the options.")
    machine.do_without_network()
    signals = StopSignals()
    serving = processes = None
    try:
        # What began is known here before `Stop` is raised, so that it can be ended.
        with signals.deferred():
            serving = server.Server(settings(given), __version__)
            processes = decoding_processes(given.decode_limits, serving)
        try:
            serve(serving, given, processes, signals)
        except Exception:
            # A library that caught `Stop` can be imported by half.
            signals.check()
            raise
    except (accounts.AccountsError, DermhubError) as error:
        warn(str(error))
        return 2
    except ModuleNotFoundError as error:
        warn(f"{error.name} is not installed: {installation.advice('gradio')}.")
        return 2
    except PortError as error:
        warn(f"{error}: choose another --port or --host.")
        return 2
    except Stop:
        return 0
    finally:
        if serving is not None:
            serving.close()
        if processes is not None:
            processes.close()


def decoding_processes(limits: Limits | None, serving: server.Server) -> DecodingProcesses | None:
    """Start the processes that decode; None where they are off, or can't be started."""
    from demo.decoding import DecodingProcesses

    def report(reason: str, seconds: float) -> None:
        serving.event_log.write("decoding", outcome=reason, seconds=seconds)

    try:
        return DecodingProcesses(limits, report) if limits else None
    except OSError as error:
        warn(f"{UNBOUNDED} ({error.strerror or error}).")
        return None


def decoder(processes: DecodingProcesses | None) -> Decode:
    """Return what decodes: the processes where they work, this process otherwise."""
    from demo.decode_child import photo_of
    from demo.decoding import DiedError

    if processes is None:
        return photo_of
    try:
        missing = processes.missing()
    except DiedError as error:
        warn(f"{UNBOUNDED} ({error}).")
        return photo_of
    if missing:
        warn(f"{missing}.")
    return processes.decode


def serve(
    serving: server.Server,
    given: argparse.Namespace,
    processes: DecodingProcesses | None,
    signals: StopSignals,
) -> NoReturn:
    """Load the models, open the page, and wait until the process is told to end.

    Raises DermhubError, and Stop at the end.
    """
    from demo.models import FAST, Models, offered
    from demo.page.page import make_page
    from demo.page.theme import FRONT, theme

    models = Models(offered(given.binary, given.lesion, warn))
    models.pair(FAST)
    decode = decoder(processes)
    signals.check()
    address = serving.open(
        lambda folder, why_refused, still_wanted: make_page(
            models, folder, why_refused, still_wanted, given.examples, decode, given.share
        ),
        theme(),
        models.identities,
        mcp=given.mcp,
        front=FRONT,
    )
    signals.check()
    if not address:
        warn("no public link could be made: check the network; the page is served here alone.")
    print(
        f"dermhub is ready: open {address or serving.local} in a browser; Ctrl-C ends it.",
        flush=True,
    )
    serving.event_log.take_over()
    signals.wait()


def run() -> int:
    """Run `main`; what this machine lacks is one sentence on stderr and exit code 2."""
    try:
        machine.prepare()
        return main()
    except Exception as error:
        if not (problem := machine.sentence(error)):
            raise
        warn(problem)
        return 2


if __name__ == "__main__":
    with terminal.printable_output():
        sys.exit(run())
