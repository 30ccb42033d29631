"""Folders of our own beside those of others: marked, locked, and removed even after a kill.

Of what others may have put there, nothing is ever removed: a name alone proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import stat
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

MARKER = "made-by-dermhub"
"""A file in each folder of our own that holds the folder's own name."""


class OwnFolder:
    """A new folder of this process alone, with a name that nobody gives to a folder by hand.

    It is locked (flock) for as long as the process lives, however that ends: the kernel gives the
    lock up, and the next process that makes such a folder beside it takes it for a dead one's and
    removes it. A folder of a living process is never touched, and neither is anything that bears no
    `MARKER`. Where a system has no such locks, a dead process's folder stays.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        """Make the folder in `parent`; its name begins with `prefix`. Raises OSError."""
        remove_leftovers(parent, prefix)
        self.path = parent / (prefix + secrets.token_hex(16))
        self.path.mkdir(0o700)
        self._handle = -1
        if fcntl is None:
            return
        self._handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        # Marked after it is locked: until then other processes leave it alone. On a file system
        # without locks it gets no mark, and is left alone for good.
        if _lock(self._handle):
            (self.path / MARKER).write_text(self.path.name, encoding="utf-8")

    def remove(self) -> None:
        """Remove the folder with everything in it, as far as that is possible."""
        if self._handle < 0:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        # Twice: somebody who still writes into it may write once more.
        for _ in range(2):
            with contextlib.suppress(OSError):
                _remove(self.path, self._handle)
        with contextlib.suppress(OSError):
            os.close(self._handle)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Remove the folders of this user's processes that were killed.

    These are the folders that bear a name and a marker of ours, and that nobody has locked.
    Everything else in `parent` stays, whatever its name is.
    """
    if fcntl is None:
        return
    name = re.compile(re.escape(prefix) + "[0-9a-f]{32}")
    for path in parent.iterdir():
        if not name.fullmatch(path.name):
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
    """Remove a folder that is open as `folder`; raises OSError where something stays.

    The marker goes last, so that the next process carries on where this was broken off.
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
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
