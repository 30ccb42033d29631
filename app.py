"""The demo: python app.py [--host HOST] [--port PORT] [--auth-file FILE] [--max-queue N] [--share].

Takes a dermatoscopic image and shows what both shipped models say and where they found it. This
module joins the page and the server, which do not know of each other.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from demo import accounts
from demo.server import server
from demo.server.process import PortError


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Serve the dermhub demo.")
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine)",
    )
    parser.add_argument(
        "--port", type=port_number, default=7860, help="port to listen on (default: 7860)"
    )
    parser.add_argument(
        "--share", action="store_true", help="open the page to the public through a Gradio link"
    )
    parser.add_argument(
        "--auth-file",
        type=Path,
        metavar="FILE",
        help="who may use it: lines user:password, or hashes",
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
        "--mcp", action="store_true", help="serve the same functions as tools (needs gradio[mcp])"
    )
    return parser.parse_args(arguments)


def folder(text: str) -> Path:
    """Return an existing folder from the command line."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text)


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
    return server.Settings(host, given.port, given.share, given.max_queue, users)


def warn(sentence: str) -> None:
    """Print a sentence on stderr."""
    print(f"app.py: {sentence}", file=sys.stderr, flush=True)


def main() -> int:
    """Listen, load both models, and serve the page until stopped."""
    given = options()
    from dermhub import DermhubError, __version__

    if given.mcp and importlib.util.find_spec("mcp") is None:
        warn("--mcp needs one more package: pip install 'gradio[mcp]'.")
        return 2
    server.stop_on_signals()
    serving = None
    try:
        serving = server.Server(settings(given), __version__)
        return serve(serving, given)
    except (accounts.AccountsError, DermhubError) as error:
        warn(str(error))
        return 2
    except ModuleNotFoundError as error:
        warn(f"{error.name} is not installed: pip install -r requirements.txt.")
        return 2
    except PortError as error:
        warn(f"{error}: choose another --port or --host.")
        return 2
    except (server.Stop, KeyboardInterrupt):
        return 0
    finally:
        if serving is not None:
            serving.close()


def serve(serving: server.Server, given: argparse.Namespace) -> int:
    """Load the models, open the page, and wait until the process is told to end.

    Raises DermhubError.
    """
    from demo.models import FAST, Models, offered
    from demo.page.page import make_page
    from demo.page.theme import FRONT, theme

    models = Models(offered(given.binary, given.lesion))
    models.pair(FAST)
    address = serving.open(
        lambda folder, why_refused: make_page(
            models, folder, why_refused, given.examples, given.share
        ),
        theme(),
        models.identities,
        mcp=given.mcp,
        front=FRONT,
    )
    if not address:
        warn("no public link could be made: check the network; the page is served here alone.")
    print(
        f"dermhub is ready: open {address or serving.local} in a browser; Ctrl-C ends it.",
        flush=True,
    )
    serving.event_log.take_over()
    return serving.wait()


if __name__ == "__main__":
    sys.exit(main())
