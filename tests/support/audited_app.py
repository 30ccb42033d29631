"""app.py, watched by the interpreter's own audit events: python audited_app.py NOTES [options of
app.py].

NOTES gets a line for every file that is opened to write, renamed or made ("write PATH"), and for
every address that is connected to or looked up ("ask ADDRESS").
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


PATHS = {"os.rename": 1, "os.mkdir": 0, "os.link": 1, "os.symlink": 1}
"""Audit events -> which of their arguments is the path that comes into being."""


def note_of(event: str, arguments: tuple[Any, ...]) -> str:
    """The line for an audit event, or "" for one that writes nothing and asks nobody."""
    if event == "open":
        path, mode, flags = arguments
        writes = (
            bool(flags & WRITING) if isinstance(flags, int) else bool(set(mode or "") & set("wax+"))
        )
        return f"write {os.fsdecode(path)}" if writes and isinstance(path, str | bytes) else ""
    if event in PATHS:
        return f"write {arguments[PATHS[event]]}"
    if event == "socket.connect":
        return f"ask {arguments[1]}"
    return f"ask {arguments[0]}" if event in ("socket.getaddrinfo", "socket.gethostbyname") else ""


def main() -> None:
    """Watch, and become app.py."""
    notes = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        line = note_of(event, arguments)
        if line:
            os.write(notes, (line.replace("\n", " ") + "\n").encode(errors="replace"))

    sys.addaudithook(hook)
    sys.argv = [str(ROOT / "app.py"), *sys.argv[2:]]
    sys.path[0] = str(ROOT)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
