"""Points the hub's client at this machine. Its settings are read when it is imported, so this module comes first."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


PORT = _free_port()
"""Where the tests' hub listens while it runs; at all other times connections are refused at once."""

HOME = Path(tempfile.gettempdir()) / f"dermhub-tests-{os.getpid()}"
"""The client's home: never that of the user, and there only while the tests of the hub run."""

os.environ.update(
    HF_ENDPOINT=f"http://127.0.0.1:{PORT}",
    HF_HOME=str(HOME),
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
)
os.environ.pop("HF_TOKEN", None)
