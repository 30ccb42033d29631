"""Points the hub's client at a loopback port and an empty home; imported before anything that
imports the client.

huggingface_hub reads these variables once, when it is imported, and timm imports it. No test may
find a token, a cached model or a setting of the person who runs it, and none may reach the real
hub.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from pathlib import Path

HOME = Path(tempfile.mkdtemp(prefix="dermhub-tests-hf-"))

atexit.register(shutil.rmtree, HOME, ignore_errors=True)

# Each process of the tests has a port of its own. This socket only holds it: nothing answers there
# until a test starts a hub, which may bind to it as well, and no other program is given it.
_held = socket.socket()
_held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
_held.bind(("127.0.0.1", 0))
atexit.register(_held.close)

PORT: int = _held.getsockname()[1]

ENDPOINT = f"http://127.0.0.1:{PORT}"


for _name in [name for name in os.environ if name.startswith(("HF_", "HUGGING"))]:
    del os.environ[_name]


os.environ.update(
    HF_ENDPOINT=ENDPOINT,
    HF_HOME=str(HOME),
    # With xet on, the client uploads to a service of its own protocol and does not fall back on
    # LFS.
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_UPDATE_CHECK="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
)
