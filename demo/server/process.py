"""The server's process: its port, its environment, how it keeps memory, and when it ends."""

from __future__ import annotations

import ctypes
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

DESCRIPTORS = 16384
"""Open files and connections of the process, where the system grants as many."""


class PortError(Exception):
    """Raised where the address or port can't be had."""


class Stop(SystemExit):
    """Raised when the process is told to end."""


class StopSignals:
    """SIGTERM and SIGINT, which raise `Stop` in the main thread.

    Libraries that are being imported can catch `Stop` and go on, so `check` raises it again. A
    second signal ends the process at once.
    """

    def __init__(self) -> None:
        """Take over both signals."""
        self._told = False
        self._deferred = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def check(self) -> None:
        """Raise `Stop` if a signal has come."""
        if self._told:
            raise Stop(0)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raise `Stop` at the end of the block, not within."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def wait(self) -> NoReturn:
        """Sleep until a signal raises `Stop`."""
        while True:
            self.check()
            time.sleep(3600)

    def _stop(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._told = True
        if not self._deferred:
            raise Stop(0)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises PortError where the address or port can't be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise PortError(
            f"{host}, port {port} can't be listened on "
            f"({str(error.strerror or error).partition(' (while')[0]})"
        ) from None


def address_host(host: str) -> str:
    """Return a host as it stands in an address that this machine can open."""
    return "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host


def environment(uploads: Path) -> dict[str, str]:
    """Return the variables that Gradio reads when it is imported.

    Uploads go into a folder of ours, and nothing is reported to anyone.
    """
    return {
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_EXAMPLES_CACHE": str(uploads / "examples"),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_ANALYTICS_MAX_EVENTS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
    }


def spare_memory() -> None:
    """Give freed memory back, and write no core file: it would hold what visitors sent."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(AttributeError, OSError):
        # glibc's mallopt(3): two arenas instead of eight a core, and buffers from 1 MB on as
        # mappings of their own. By itself glibc raises that limit to 32 MB and keeps the freed
        # images of one visit for ever.
        library = ctypes.CDLL(None)
        library.mallopt(-8, 2)
        library.mallopt(-3, 2**20)


def raise_descriptors() -> int:
    """Allow this process as many open files and connections as the system grants, and return that.

    Shells and services begin with 1,024, whatever the system could grant.
    """
    import resource

    _, granted = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if granted == resource.RLIM_INFINITY else min(granted, DESCRIPTORS)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, granted))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
