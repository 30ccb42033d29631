"""The demo: python app.py [--share] [--host HOST] [--port PORT].

Takes a dermatoscopic image and shows what both shipped models say and where they found it.
"""

from __future__ import annotations

import argparse
import os
import sys

from demo import server


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Serve the dermhub demo.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine)")
    parser.add_argument("--port", type=port_number, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument("--share", action="store_true", help="open the page to the public through a Gradio link")
    parser.add_argument("--binary", default="binary", metavar="ID", help="model or folder for benign / malignant")
    parser.add_argument("--lesion", default="lesion", metavar="ID", help="model or folder for the seven classes")
    return parser.parse_args(arguments)


def port_number(text: str) -> int:
    """A port from the command line."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port, expected a number from 1 to 65535")
    return int(text)


def main() -> int:
    """Load both models and serve the page until stopped."""
    given = options()
    folder = server.private_folder()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # A Space says in its environment that it listens for others.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else given.host
    from demo import answer, models
    from demo.page import make_page
    from dermhub import DermhubError

    try:
        binary, lesion = models.load_model("binary", given.binary), models.load_model("lesion", given.lesion)
    except DermhubError as error:
        print(f"app.py: {error}", file=sys.stderr)
        return 2
    page = make_page(binary, lesion, folder)
    if given.share or host not in ("127.0.0.1", "localhost", "::1"):
        print("app.py: this page can be reached by others, without a password.", file=sys.stderr)
    try:
        local, public = server.launch(page, host, given.port, given.share, answer.CSS)
    except OSError as error:
        print(f"app.py: {error}: choose another port with --port.", file=sys.stderr)
        return 2
    if given.share and not public:
        print(
            "app.py: no public link could be made: check the network; the page is served here alone.", file=sys.stderr
        )
    print(f"dermhub is ready: open {public or local} in a browser; Ctrl-C ends it.", flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
