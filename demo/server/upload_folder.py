"""The private folder for uploads: for this user alone, swept, and removed even after a kill.

Gradio would leave files behind: it forgets uploads that broke off, and removes nothing when the
process is told to end.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from pathlib import Path

from demo.server.sweeper import INTERVAL, LIFETIME, Report, Sweeper, ignore
from demo.server.upload_room import UploadRoom

PREFIX = "dermhub-uploads-"

NAME = re.compile(PREFIX + "[0-9a-f]{32}")
"""Names of private folders: nobody gives such a name to a folder by hand."""

MARKER = "made-by-the-dermhub-demo"
"""A file in each private folder that holds the folder's own name.

Without it, no folder is ever removed: its name alone proves nothing.
"""


class PrivateFolder:
    """A folder of this server alone.

    It is locked (flock) for as long as the process lives, however that ends: the kernel gives the
    lock up, and the next server to start takes the folder for a dead one's and removes it. A folder
    of a living server is never touched, and neither is anything that bears no `MARKER`.
    """

    def __init__(self, base: str | os.PathLike[str] | None = None, report: Report = ignore) -> None:
        """Make the folder in `base` (default: the system's folder for temporary files).

        `report` is called with what keeps the sweeper from deleting.
        """
        parent = Path(base or tempfile.gettempdir())
        remove_leftovers(parent)
        self.path = parent / (PREFIX + secrets.token_hex(16))
        self.path.mkdir(0o700)
        self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # Marked after it is locked: until then another server leaves it alone. On a file system
        # without locks it gets no mark, and is left alone for good.
        if _lock(self._handle):
            (self.path / MARKER).write_text(self.path.name, encoding="utf-8")
        self.uploads = self.path / "uploads"
        self.uploads.mkdir()
        self.room = UploadRoom(LIFETIME + INTERVAL)
        self.sweeper = Sweeper(self.uploads, report, lambda: self.room.correct(self.uploads))
        self.sweeper.start()

    def keep_what_is_there(self) -> None:
        """Spare the files that are there from sweeping: Gradio's copies of the page's pictures."""
        self.sweeper.spare(self.uploads.rglob("*"))

    def holds(self, path: str) -> bool:
        """Tell whether a path, with every link followed, is a file in this folder."""
        try:
            return Path(path).resolve(strict=True).is_relative_to(self.path.resolve())
        except (OSError, ValueError, RuntimeError):
            return False

    def remove(self) -> None:
        """Remove the folder with everything in it."""
        self.sweeper.stop()
        # Twice: a request that is still being read may write once more.
        for _ in range(2):
            with contextlib.suppress(OSError):
                _remove(self.path, self._handle)
        with contextlib.suppress(OSError):
            os.close(self._handle)


def remove_leftovers(base: Path) -> None:
    """Remove the private folders of this user's servers that were killed.

    These are the folders that bear a name and a marker of ours, and that nobody has locked.
    Everything else in `base` stays, whatever its name is.
    """
    for path in base.iterdir():
        if not NAME.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                ours = os.fstat(handle).st_uid == os.getuid()
                if ours and _lock(handle) and _is_marked(handle, path.name):
                    _remove(path, handle)
            finally:
                os.close(handle)


def _is_marked(folder: int, name: str) -> bool:
    """Tell whether an open folder holds a marker that states this name for it."""
    marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(marker, "rb") as stream:
        return stat.S_ISREG(os.fstat(marker).st_mode) and stream.read(100) == name.encode()


def _remove(path: Path, folder: int) -> None:
    """Remove a private folder that is open as `folder`; raises OSError where something stays.

    The marker goes last, so that the next server carries on where this was broken off.
    """
    for name in os.listdir(folder):
        if name == MARKER:
            continue
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
    if os.listdir(folder) == [MARKER]:
        os.unlink(MARKER, dir_fd=folder)
    path.rmdir()


def _lock(handle: int) -> bool:
    """Lock an open folder until it is closed; False where another process has locked it."""
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
