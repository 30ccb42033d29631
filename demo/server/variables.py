"""Gradio's variables of the environment: three are heeded, as users of Gradio expect."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

NAME, PORT, ROOT_PATH = "GRADIO_SERVER_NAME", "GRADIO_SERVER_PORT", "GRADIO_ROOT_PATH"
"""The address and the port to listen on, and the path or address below which a proxy offers it."""

KEPT = (ROOT_PATH, "GRADIO_SHARE_SERVER_ADDRESS")
"""Variables that Gradio may read itself."""

QUIET = ("GRADIO_ANALYTICS_ENABLED", "GRADIO_TEMP_DIR", NAME, PORT)
"""Variables that are no longer needed, or set by the server anyway: nothing is lost with them."""


def host() -> str:
    """Return the address to listen on where the command line names none."""
    return os.environ.get(NAME, "").strip() or "127.0.0.1"


def port() -> str:
    """Return the port to listen on where the command line names none, as it was written."""
    return os.environ.get(PORT, "").strip() or "7860"


def root_path_problem() -> str:
    """Say in one sentence why GRADIO_ROOT_PATH can't be used; "" where it can, or is not set."""
    value = os.environ.get(ROOT_PATH, "")
    path = value
    if value.startswith(("http://", "https://")):
        try:
            parts = urlsplit(value)
            path = parts.path if parts.hostname and not parts.query and not parts.fragment else "?"
        except ValueError:
            path = "?"
    if re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", path):
        return ""
    return (
        f"{ROOT_PATH} is {value[:80]!r}, expected a path such as /derm, or an address such as "
        "https://clinic.example/derm: correct or unset it."
    )


def drop() -> list[str]:
    """Drop all other variables of Gradio, and return the names of those that somebody may miss.

    Some would open folders, start a second server or keep what visitors sent; others end the
    program where they are no numbers.
    """
    dropped = [name for name in os.environ if name.startswith("GRADIO_") and name not in KEPT]
    for name in dropped:
        del os.environ[name]
    # Read by the web server, which runs in this process alone.
    os.environ.pop("WEB_CONCURRENCY", None)
    return sorted(set(dropped) - set(QUIET))
